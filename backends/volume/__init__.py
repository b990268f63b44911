"""Volumes: disks, their snapshots, and which guest holds which disk."""
