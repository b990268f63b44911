"""Identity: principals, policies and keys."""
