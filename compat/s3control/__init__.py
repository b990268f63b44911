"""S3 Control: what belongs to an account's buckets as a whole, and to buckets as resources."""
