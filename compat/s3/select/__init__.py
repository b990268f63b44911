"""S3 Select: a query over one object. Parsed here, so that what DuckDB is asked is never a caller's own text."""
