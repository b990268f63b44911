"""The wire: HTTP, hosts, signatures, forms, XML, JSON, streams and the command line."""

__version__ = "0.1.0"
