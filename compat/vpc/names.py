"""DNS names of addresses, as the resolver of a VPC would answer them."""

from __future__ import annotations


def private_name(region: str, ip: str) -> str:
    """The private name of an IPv4 address: `ip-10-0-0-4.ec2.internal`."""
    return f"ip-{ip.replace('.', '-')}.{private_domain(region)}"


def private_domain(region: str) -> str:
    """The domain of private names; us-east-1 has one of its own."""
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def public_name(region: str, ip: str) -> str:
    """The public name of an IPv4 address: `ec2-198-18-0-4.compute-1.amazonaws.com`."""
    middle = "compute-1" if region == "us-east-1" else f"{region}.compute"
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"ec2-{ip.replace('.', '-')}.{middle}.{suffix}"
