"""Compute: guests, the hosts that they run on, and the keys that open them."""
