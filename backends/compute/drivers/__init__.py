"""What can run guests."""
