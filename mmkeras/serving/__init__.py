"""Saved models behind HTTP: what `mmkeras serve` runs."""
