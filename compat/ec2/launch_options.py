"""What a launch says of processors, credits and host names, laid over what type, account and subnet say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.network.models import Segment
from compat.context import Context
from compat.ec2.flavors import Family, Flavor, valid_cores
from compat.ec2.settings import read_setting
from compat.errors import AWSError


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterValue", message)


def cpu_options(flavor: Flavor, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The processors of a new instance. InvalidParameterValue for what the type cannot have."""
    cores = asked.get("CoreCount") or flavor.cores
    threads = asked.get("ThreadsPerCore") or flavor.threads
    if asked.get("CoreCount") and cores not in valid_cores(flavor):
        raise _invalid(f"CpuOptions.CoreCount of {cores} is not valid for instance type {flavor.name}.")
    if not 1 <= threads <= flavor.threads:
        raise _invalid(f"CpuOptions.ThreadsPerCore of {threads} is not valid for instance type {flavor.name}.")
    found = {"CoreCount": cores, "ThreadsPerCore": threads}
    return found | ({"AmdSevSnp": asked["AmdSevSnp"]} if asked.get("AmdSevSnp") else {})


def private_dns(segment: Segment, asked: Mapping[str, Any]) -> dict[str, Any]:
    """How the host name of a new instance is made."""
    options = {
        "HostnameType": "ip-name" if segment.cidr else "resource-name",
        "EnableResourceNameDnsARecord": False,
        "EnableResourceNameDnsAAAARecord": False,
    }
    return options | dict(asked)


def default_credits(ctx: Context, family: Family) -> str:
    """The credit option of burstable instances of which nothing else is said."""
    held: dict[str, str] = read_setting(ctx, "default-credits", {})
    return held.get(family.name) or ("standard" if family.name == "t2" else "unlimited")
