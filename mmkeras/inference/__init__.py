"""Answers of fitted models that a user calls by name."""
