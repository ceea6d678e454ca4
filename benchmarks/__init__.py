"""Ratios taken in one run: what our work costs beside the least that it could cost."""
