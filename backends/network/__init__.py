"""Networks of tenants: segments, ports, routes, firewalls and the way out."""
