"""What makes a network real, or leaves it on paper."""
