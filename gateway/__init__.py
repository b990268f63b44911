"""The wire: HTTP, hosts, signatures, forms, XML, JSON, streams and the command line."""
