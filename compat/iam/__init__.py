"""Identity and access: who calls, what their policies say, and the operations of IAM."""
