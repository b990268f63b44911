"""VPC: networks, subnets, routes, gateways, addresses, security groups and network interfaces."""
