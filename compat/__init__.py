"""AWS meaning: operations, ARNs, policies, errors, filters, tags. Nothing here knows sockets or XML."""
