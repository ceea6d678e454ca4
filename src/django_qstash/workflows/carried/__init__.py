"""Runs without a database: a letter carries all there is of one, and each delivery does a step."""
