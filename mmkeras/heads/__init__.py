"""The third stage: features to answers."""
