"""What decided: modalities, losses, attention."""
