"""What of the search needs AutoKeras; importing these files imports it."""
