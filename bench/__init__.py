"""Measurements: ratios in one run, never a lone time."""
