"""Drivers that keep blobs."""
