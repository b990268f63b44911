"""Readers and writers of AWS's protocols, compiled from botocore's models."""
