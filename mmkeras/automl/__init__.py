"""Whole ways from a table to a model."""
