"""Processors, bandwidth and CPU credits: of an instance, and by default."""

from __future__ import annotations

from typing import Any

from backends.compute.models import Guest
from compat.context import Context
from compat.ec2.flavors import Family
from compat.ec2.instance_attributes import only_stopped, show
from compat.ec2.launch_facts import find_flavor
from compat.ec2.launch_options import cpu_options, default_credits
from compat.ec2.settings import read_setting, write_setting
from compat.errors import AWSError
from compat.operation import Params, Result, operation

WEIGHTED = ("m8g", "c8g", "r8g")
"""Families whose bandwidth can be given to the network or to volumes."""


def _credits(ctx: Context, family: str) -> Result:
    found = default_credits(ctx, Family(family, "", None, burstable=True))
    return {"InstanceFamilyCreditSpecification": {"InstanceFamily": family, "CpuCredits": found}}


@operation("ec2:GetDefaultCreditSpecification")
def get_default_credit_specification(ctx: Context, p: Params) -> Result:
    """The credit option that new instances of a family have when a launch says nothing."""
    return _credits(ctx, p["InstanceFamily"])


@operation("ec2:ModifyDefaultCreditSpecification")
def modify_default_credit_specification(ctx: Context, p: Params) -> Result:
    """Change that option; instances that are there keep theirs."""
    if p["CpuCredits"] not in ("standard", "unlimited"):
        raise AWSError("InvalidParameterValue", f"Value ({p['CpuCredits']}) for parameter cpuCredits is invalid.")
    held: dict[str, Any] = read_setting(ctx, "default-credits", {})
    write_setting(ctx, "default-credits", held | {p["InstanceFamily"]: p["CpuCredits"]})
    ctx.unit.flush()
    return _credits(ctx, p["InstanceFamily"])


@operation("ec2:ModifyInstanceCpuOptions", on="instance/{InstanceId}")
def modify_instance_cpu_options(ctx: Context, p: Params) -> Result:
    """Give a stopped instance other numbers of cores and threads."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    only_stopped(guest, "cpuOptions")
    if p.get("NestedVirtualization"):
        raise AWSError("Unsupported", "NestedVirtualization is not offered by Nephele.")
    asked = {name: p[name] for name in ("CoreCount", "ThreadsPerCore") if p.get(name) is not None}
    held = guest.notes["shown"]["CpuOptions"]
    options = held | cpu_options(find_flavor(guest.flavor), held | asked)
    show(guest, "CpuOptions", options)
    return {"InstanceId": guest.id, **options}


@operation("ec2:ModifyInstanceNetworkPerformanceOptions", on="instance/{InstanceId}")
def modify_instance_network_performance_options(ctx: Context, p: Params) -> Result:
    """Let a stopped instance favour its network or its volumes."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    only_stopped(guest, "bandwidthWeighting")
    wanted = p["BandwidthWeighting"]
    if wanted != "default" and guest.flavor.partition(".")[0] not in WEIGHTED:
        raise AWSError(
            "InvalidParameterCombination",
            f"The instance type '{guest.flavor}' does not support the bandwidth weighting '{wanted}'.",
        )
    show(guest, "NetworkPerformanceOptions", {"BandwidthWeighting": wanted})
    return {"InstanceId": guest.id, "BandwidthWeighting": wanted}
