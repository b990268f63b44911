"""What may be asked and changed of an instance beside its power: attributes, options, monitoring."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest, GuestState
from backends.volume.models import Attachment
from compat.context import Context
from compat.describe import page
from compat.ec2.capacity_reservations import capacity_specification
from compat.ec2.instance_view import load
from compat.ec2.launch_facts import check_user_data, find_flavor
from compat.ec2.launch_options import default_credits
from compat.ec2.metadata_options import check_options, check_tag_keys
from compat.ec2.placement import group_of, parts_of, refuse_hosts
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.vpc.network_interfaces import GROUP_RAISES


def show(guest: Guest, member: str, value: Any) -> None:
    """Change a member of the instance's answer."""
    guest.notes = guest.notes | {"shown": guest.notes["shown"] | {member: value}}


# --- attributes -----------------------------------------------------------------------------------------------------


@operation("ec2:DescribeInstanceAttribute", on="instance/{InstanceId}")
def describe_instance_attribute(ctx: Context, p: Params) -> Result:
    """One attribute of an instance."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    attribute = p["Attribute"]
    member = attribute[0].upper() + attribute[1:]
    shown = guest.notes["shown"]
    values: dict[str, Any] = {
        "instanceType": guest.flavor,
        "disableApiTermination": guest.locked,
        "disableApiStop": guest.stop_locked,
        "instanceInitiatedShutdownBehavior": "terminate" if guest.ends_on_shutdown else "stop",
        "rootDeviceName": guest.root_device,
        "ebsOptimized": shown["EbsOptimized"],
        "enaSupport": shown["EnaSupport"],
        "sriovNetSupport": shown.get("SriovNetSupport"),
        "kernel": shown.get("KernelId"),
        "ramdisk": shown.get("RamdiskId"),
        "userData": guest.user_data,
    }
    answer: Result = {"InstanceId": guest.id}
    if attribute in values:
        member = {"kernel": "KernelId", "ramdisk": "RamdiskId"}.get(attribute, member)
        return answer | {member: {} if values[attribute] is None else {"Value": values[attribute]}}
    if attribute == "enclaveOptions":
        return answer | {"EnclaveOptions": shown["EnclaveOptions"]}
    if attribute == "productCodes":
        return answer | {"ProductCodes": []}
    load(ctx, [guest])
    if attribute == "blockDeviceMapping":
        return answer | {"BlockDeviceMappings": ctx.prepared.disks.get(guest.id, [])}
    ports = ctx.prepared.ports.get(guest.id, [])
    if attribute == "sourceDestCheck":
        return answer | ({"SourceDestCheck": {"Value": ports[0]["SourceDestCheck"]}} if ports else {})
    return answer | {"Groups": ports[0]["Groups"] if ports else []}


def _value(given: Any) -> Any:
    """The value of an attribute: structures have a member `Value`."""
    return given.get("Value") if isinstance(given, Mapping) else given


@operation("ec2:ModifyInstanceAttribute", on=("instance/{InstanceId}", "security-group/{Groups}"), raises=GROUP_RAISES)
def modify_instance_attribute(ctx: Context, p: Params) -> Result:
    """Change attributes of an instance."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    given = {
        member[0].lower() + member[1:]: _value(value)
        for member, value in p.items()
        if member not in ("InstanceId", "Attribute", "Value", "DryRun", "BlockDeviceMappings", "Groups")
    }
    if p.get("Attribute"):
        given[p["Attribute"]] = p.get("Value")
    for name, value in given.items():
        _modify(ctx, guest, name, value)
    if p.get("BlockDeviceMappings"):
        _modify_mappings(ctx, guest, p["BlockDeviceMappings"])
    if p.get("Groups"):
        ports = ctx.network.ports_of(guest.id)
        if len(ports) != 1:
            raise AWSError(
                "InvalidInstanceID",
                f"There are multiple interfaces attached to instance '{guest.id}'. Specify an interface ID for the "
                "operation instead.",
            )
        ctx.network.set_groups(ports[0], p["Groups"])
    return {}


def _truth(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def _modify(ctx: Context, guest: Guest, name: str, value: Any) -> None:
    match name:
        case "disableApiTermination":
            guest.locked = _truth(value)
        case "disableApiStop":
            guest.stop_locked = _truth(value)
        case "instanceInitiatedShutdownBehavior":
            if value not in ("stop", "terminate"):
                raise AWSError(
                    "InvalidParameterValue",
                    f"Value ({value}) for parameter instanceInitiatedShutdownBehavior is invalid.",
                )
            guest.ends_on_shutdown = value == "terminate"
        case "instanceType":
            _modify_type(ctx, guest, value)
        case "userData":
            only_stopped(guest, name)
            text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
            guest.user_data = check_user_data(text)
        case "sourceDestCheck":
            for port in ctx.network.ports_of(guest.id)[:1]:
                port.checked = _truth(value)
        case "ebsOptimized" | "enaSupport":
            only_stopped(guest, name)
            show(guest, name[0].upper() + name[1:], _truth(value))
        case "sriovNetSupport":
            only_stopped(guest, name)
            show(guest, "SriovNetSupport", value)
        case "enclaveOptions":
            only_stopped(guest, name)
        case "kernel" | "ramdisk":
            only_stopped(guest, name)
            show(guest, {"kernel": "KernelId", "ramdisk": "RamdiskId"}[name], value)
        case _:
            raise AWSError("InvalidParameterCombination", f"The attribute '{name}' cannot be modified.")


def only_stopped(guest: Guest, name: str) -> None:
    """Refuse a change of an instance that is not stopped."""
    if guest.state != GuestState.STOPPED:
        raise AWSError(
            "IncorrectInstanceState",
            f"The instance '{guest.id}' is not in the 'stopped' state: {name} cannot be changed.",
        )


def _modify_type(ctx: Context, guest: Guest, name: str) -> None:
    only_stopped(guest, "instanceType")
    flavor = find_flavor(name)
    if guest.architecture not in flavor.family.architectures:
        raise AWSError(
            "InvalidParameterValue",
            f"The architecture of the instance type '{name}' does not match that of the instance '{guest.id}'.",
        )
    guest.flavor, guest.vcpus, guest.memory = flavor.name, flavor.vcpus, flavor.memory
    show(guest, "CpuOptions", {"CoreCount": flavor.cores, "ThreadsPerCore": flavor.threads})
    notes = {key: value for key, value in guest.notes.items() if key != "credits"}
    if flavor.family.burstable:
        notes["credits"] = guest.notes.get("credits") or default_credits(ctx, flavor.family)
    guest.notes = notes


def _modify_mappings(ctx: Context, guest: Guest, mappings: list[dict[str, Any]]) -> None:
    held = {one.device: one for one in ctx.volumes.attachments(guests=[guest.id])}
    for mapping in mappings:
        attachment: Attachment | None = held.get(mapping.get("DeviceName") or "")
        if attachment is None:
            raise AWSError(
                "InvalidInstanceAttributeValue", f"No device is currently mapped at {mapping.get('DeviceName')}"
            )
        ends = (mapping.get("Ebs") or {}).get("DeleteOnTermination")
        if ends is not None:
            attachment.keep = not ends


@operation("ec2:ResetInstanceAttribute", on="instance/{InstanceId}")
def reset_instance_attribute(ctx: Context, p: Params) -> Result:
    """Take an attribute back to its default."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    if p["Attribute"] == "sourceDestCheck":
        for port in ctx.network.ports_of(guest.id)[:1]:
            port.checked = True
        return {}
    if p["Attribute"] not in ("kernel", "ramdisk"):
        raise AWSError("InvalidParameterValue", f"The attribute '{p['Attribute']}' cannot be reset.")
    only_stopped(guest, p["Attribute"])
    member = {"kernel": "KernelId", "ramdisk": "RamdiskId"}[p["Attribute"]]
    shown = {name: value for name, value in guest.notes["shown"].items() if name != member}
    guest.notes = guest.notes | {"shown": shown}
    return {}


# --- options --------------------------------------------------------------------------------------------------------


@operation("ec2:ModifyInstanceMetadataOptions", on="instance/{InstanceId}")
def modify_instance_metadata_options(ctx: Context, p: Params) -> Result:
    """Change how an instance's metadata may be read."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    if guest.state not in (GuestState.RUNNING, GuestState.STOPPED, GuestState.PENDING, GuestState.STOPPING):
        raise AWSError("IncorrectState", f"The instance '{guest.id}' is in state '{guest.state}'.")
    options = dict(guest.notes["shown"]["MetadataOptions"])
    for member in ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "HttpProtocolIpv6", "InstanceMetadataTags"):
        if p.get(member) is not None:
            options[member] = p[member]
    check_options(options)
    check_tag_keys(options, (tag["Key"] for tag in ctx.tags(guest.id)))
    show(guest, "MetadataOptions", options)
    return {"InstanceId": guest.id, "InstanceMetadataOptions": options | {"State": "pending"}}


@operation("ec2:ModifyInstanceMaintenanceOptions", on="instance/{InstanceId}")
def modify_instance_maintenance_options(ctx: Context, p: Params) -> Result:
    """Change whether an instance is recovered by itself."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    options = dict(guest.notes["shown"]["MaintenanceOptions"])
    options |= {member: p[member] for member in ("AutoRecovery", "RebootMigration") if p.get(member)}
    show(guest, "MaintenanceOptions", options)
    guest.notes = guest.notes | {"recovers": options["AutoRecovery"] != "disabled"}
    return {"InstanceId": guest.id, **options}


@operation("ec2:ModifyPrivateDnsNameOptions", on="instance/{InstanceId}")
def modify_private_dns_name_options(ctx: Context, p: Params) -> Result:
    """Change what an instance is called in its VPC."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    options = dict(guest.notes["shown"]["PrivateDnsNameOptions"])
    if p.get("PrivateDnsHostnameType"):
        only_stopped(guest, "privateDnsHostnameType")
        options["HostnameType"] = p["PrivateDnsHostnameType"]
    for member in ("EnableResourceNameDnsARecord", "EnableResourceNameDnsAAAARecord"):
        if p.get(member) is not None:
            options[member] = p[member]
    show(guest, "PrivateDnsNameOptions", options)
    return {"Return": True}


@operation("ec2:ModifyInstanceCapacityReservationAttributes", on="instance/{InstanceId}")
def modify_instance_capacity_reservation_attributes(ctx: Context, p: Params) -> Result:
    """Change which reservation an instance may use."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    only_stopped(guest, "capacityReservationSpecification")
    show(guest, "CapacityReservationSpecification", capacity_specification(p))
    return {"Return": True}


@operation("ec2:ModifyInstancePlacement", on="instance/{InstanceId}")
def modify_instance_placement(ctx: Context, p: Params) -> Result:
    """Change the placement of a stopped instance."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    only_stopped(guest, "placement")
    refuse_hosts(p)
    placement = dict(guest.notes["shown"]["Placement"])
    if p.get("Affinity") is not None:
        placement["Affinity"] = p["Affinity"]
    if any(p.get(member) is not None for member in ("GroupName", "GroupId", "PartitionNumber")):
        named = {member: p.get(member) for member in ("GroupName", "GroupId")}
        if all(name is None for name in named.values()):
            named = {"GroupName": placement["GroupName"], "GroupId": None}
        group = group_of(ctx, named | {"PartitionNumber": p.get("PartitionNumber")})
        for member in ("GroupId", "PartitionNumber"):
            placement.pop(member, None)
        placement["GroupName"], guest.apart, guest.part = "", None, None
        if group is not None:
            placement |= {"GroupName": group.name, "GroupId": group.id}
            guest.apart = group.id
            part = next(parts_of(ctx, group, p.get("PartitionNumber")))
            guest.part = guest.id if part is None else part
            if group.document["Strategy"] == "partition":
                placement["PartitionNumber"] = int(guest.part)
    show(guest, "Placement", placement)
    return {"Return": True}


def _render_credits(ctx: Context, guest: Guest) -> dict[str, Any]:
    return {"InstanceId": guest.id, "CpuCredits": guest.notes.get("credits")}


CREDIT_FILTERS: Filters = {"instance-id": Guest.id}


@operation("ec2:DescribeInstanceCreditSpecifications")
def describe_instance_credit_specifications(ctx: Context, p: Params) -> Result:
    """The credit options of the instances named; of all that are `unlimited`, when none is named."""
    for guest in ctx.find_all("instance", p.get("InstanceIds") or ()):
        if "credits" not in guest.notes:
            raise AWSError(
                "UnsupportedOperation",
                f"The CPU credit option is not supported for instance type '{guest.flavor}' of '{guest.id}'.",
            )
    result = page(ctx, p, "instance", CREDIT_FILTERS, _render_credits)
    wanted = ("standard", "unlimited") if p.get("InstanceIds") else ("unlimited",)
    result["InstanceCreditSpecifications"] = [
        one for one in result["InstanceCreditSpecifications"] if one["CpuCredits"] in wanted
    ]
    return result


@operation("ec2:ModifyInstanceCreditSpecification", on="instance/*")
def modify_instance_credit_specification(ctx: Context, p: Params) -> Result:
    """Change the credit options of burstable instances."""
    done, refused = [], []
    for one in p["InstanceCreditSpecifications"]:
        id = one.get("InstanceId")
        guest = ctx.session.scalar(select(Guest).where(Guest.id == id))
        if guest is None:
            error = ("InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist")
        elif "credits" not in guest.notes:
            error = ("InstanceCreditSpecification.NotSupported", "The instance type has no CPU credits.")
        else:
            guest.notes = guest.notes | {"credits": one.get("CpuCredits") or "standard"}
            done.append({"InstanceId": id})
            continue
        refused.append({"InstanceId": id, "Error": {"Code": error[0], "Message": error[1]}})
    return {"SuccessfulInstanceCreditSpecifications": done, "UnsuccessfulInstanceCreditSpecifications": refused}


# --- monitoring and console -----------------------------------------------------------------------------------------


def _monitor(ctx: Context, ids: list[str], on: bool) -> Result:
    answer = []
    for guest in ctx.find_all("instance", ids):
        changed = guest.monitored != on
        guest.monitored = on
        state = ("pending" if on else "disabling") if changed else ("enabled" if on else "disabled")
        answer.append({"InstanceId": guest.id, "Monitoring": {"State": state}})
    return {"InstanceMonitorings": answer}


@operation("ec2:MonitorInstances", on="instance/{InstanceIds}")
def monitor_instances(ctx: Context, p: Params) -> Result:
    """Turn detailed monitoring on."""
    return _monitor(ctx, p["InstanceIds"], True)


@operation("ec2:UnmonitorInstances", on="instance/{InstanceIds}")
def unmonitor_instances(ctx: Context, p: Params) -> Result:
    """Turn detailed monitoring off."""
    return _monitor(ctx, p["InstanceIds"], False)


@operation("ec2:GetPasswordData", on="instance/{InstanceId}")
def get_password_data(ctx: Context, p: Params) -> Result:
    """The password that a Windows instance made; none does here."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    return {"InstanceId": guest.id, "Timestamp": guest.launched, "PasswordData": ""}
