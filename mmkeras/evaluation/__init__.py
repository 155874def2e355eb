"""Scores, thresholds, rivals, and the report that shows them."""
