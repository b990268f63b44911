"""EC2: one module a family of operations."""
