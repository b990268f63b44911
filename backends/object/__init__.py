"""Containers of objects: an index in the database, small contents beside it, large ones as files."""
