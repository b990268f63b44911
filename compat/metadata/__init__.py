"""The instance metadata service: what an instance may ask about itself, and how."""
