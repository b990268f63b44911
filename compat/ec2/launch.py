"""RunInstances: from what a call, its template and its image say to guests, disks and ports."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest, LoginKey
from backends.errors import Exhausted
from backends.network.errors import AlreadyAttached
from backends.volume.models import Snapshot
from compat.context import Context
from compat.ec2.capacity_reservations import Wish, capacity_specification, claim
from compat.ec2.disk_keys import encryption
from compat.ec2.images import image_arn
from compat.ec2.instance_status import can_hibernate
from compat.ec2.instance_view import load, render_instance
from compat.ec2.key_pairs import missing_key
from compat.ec2.launch_facts import check_user_data, find_flavor, find_image, find_profile
from compat.ec2.launch_interfaces import find_cards, plug_in
from compat.ec2.launch_options import cpu_options, default_credits, private_dns
from compat.ec2.launch_templates import with_template
from compat.ec2.metadata_options import launch_options
from compat.ec2.placement import Site, find_site, group_of, refuse_dedicated_network, refuse_hosts
from compat.ec2.profile_associations import associated
from compat.ec2.spot_market import spot_market
from compat.ec2.volume_types import merge_mappings, performance
from compat.ec2.volumes import CREATING
from compat.errors import AWSError
from compat.operation import Params, Raises, Result, operation
from compat.tags import put_tags
from compat.vpc.facts import ADDRESS_FACTS
from compat.vpc.network_interfaces import GROUP_RAISES

DEFAULT_TYPE = "m1.small"
TAGGED = ("instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu")
"""What a launch may give tags to."""


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterValue", message)


def launch_targets(ctx: Context, p: Params) -> list[str]:
    """The resources that a launch is about."""
    found = ["instance/*", "network-interface/*", "volume/*"]
    if image := p.get("ImageId"):
        found.append(image_arn(ctx, image if image.startswith("ami-") else "*"))
    cards = p.get("NetworkInterfaces") or ()
    found += [f"subnet/{one}" for one in [p.get("SubnetId"), *(card.get("SubnetId") for card in cards)] if one]
    groups = [*(p.get("SecurityGroupIds") or ()), *(group for card in cards for group in card.get("Groups") or ())]
    found += [f"security-group/{group}" for group in dict.fromkeys(groups)] or ["security-group/*"]
    if not p.get("SubnetId") and not any(card.get("SubnetId") for card in cards):
        found.append("subnet/*")
    if p.get("KeyName"):
        found.append(f"key-pair/{p['KeyName']}")
    if template := p.get("LaunchTemplate"):
        found.append(f"launch-template/{template.get('LaunchTemplateId') or '*'}")
    return found


RUN_FACTS: Raises = {
    **ADDRESS_FACTS,
    **GROUP_RAISES,
    **CREATING,
    Exhausted: lambda fact: AWSError(
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient capacity: no host has room for an instance of that type.",
    ),
    AlreadyAttached: lambda fact: AWSError("InvalidNetworkInterface.InUse", f"Interface: [{fact.id}] in use."),
}


@operation("ec2:RunInstances", on=launch_targets, raises=RUN_FACTS)
def run_instances(ctx: Context, p: Params) -> Result:
    """Launch instances."""
    spec, template_tags = with_template(ctx, p)
    launch = Launch(ctx, spec, template_tags)
    least, most = p["MinCount"], p["MaxCount"]
    if least < 1 or most < least:
        raise _invalid(f"MinCount ({least}) must be at least 1 and at most MaxCount ({most}).")
    guests: list[Guest] = []
    while len(guests) < most:
        try:
            site = find_site(ctx, launch.flavor, launch.zone, launch.group, launch.partition)
        except Exhausted:
            if len(guests) < least:
                raise
            break
        guests.append(launch.guest(len(guests), site))
    ctx.session.flush()
    load(ctx, guests)
    return {
        "ReservationId": launch.batch,
        "OwnerId": ctx.account,
        "Groups": [],
        "Instances": [render_instance(ctx, guest) for guest in guests],
    }


class Launch:
    """One RunInstances: everything is looked up and checked once, then `guest` makes one instance after the other."""

    def __init__(
        self, ctx: Context, spec: Mapping[str, Any], template_tags: Mapping[str, list[dict[str, Any]]]
    ) -> None:
        self.ctx, self.spec, self.template_tags = ctx, spec, template_tags
        self.batch = "r-" + secrets.token_hex(9)[:17]
        for one in spec.get("TagSpecifications") or ():
            if one.get("ResourceType") not in TAGGED:
                raise _invalid(f"'{one.get('ResourceType')}' is not a valid taggable resource type for this operation.")
        self.market = spot_market(spec)
        self.image = find_image(ctx, spec.get("ImageId"))
        self.flavor = find_flavor(spec.get("InstanceType") or DEFAULT_TYPE)
        self._check_architecture()
        self.cards = find_cards(ctx, spec, self.flavor)
        self.zone = self.cards[0].segment.zone
        placement = spec.get("Placement") or {}
        refuse_hosts(placement)
        refuse_dedicated_network(ctx, self.cards[0].segment.network_id)
        self.group, self.partition = group_of(ctx, placement), placement.get("PartitionNumber")
        self.key = self._key()
        self.user_data = check_user_data(spec.get("UserData"))
        self.profile = find_profile(ctx, spec.get("IamInstanceProfile"))
        self.mappings = merge_mappings(self.image.mappings, spec.get("BlockDeviceMappings") or ())
        self.own_devices = {
            one.get("DeviceName")
            for one in spec.get("BlockDeviceMappings") or ()
            if (one.get("Ebs") or {}).get("SnapshotId")
        }
        self.sources = {
            mapping["snapshot"]: self._source(mapping) for mapping in self.mappings if mapping.get("snapshot")
        }
        self.shown = self._shown()

    def _check_architecture(self) -> None:
        wanted = self.image.architecture.replace("_mac", "")
        if wanted not in self.flavor.family.architectures:
            raise _invalid(
                f"The architecture '{','.join(self.flavor.family.architectures)}' of the specified instance type does "
                f"not match the architecture '{self.image.architecture}' of the specified AMI. Specify an instance "
                "type and an AMI that have matching architectures, and try again."
            )

    def _key(self) -> str | None:
        name: str | None = self.spec.get("KeyName")
        self.login_key = None
        if name:
            self.login_key = self.ctx.session.scalar(select(LoginKey.public).where(LoginKey.name == name))
            if self.login_key is None:
                raise missing_key(name)
        return name or None

    def _source(self, mapping: dict[str, Any]) -> Snapshot | None:
        """The snapshot behind a mapping; None for those of public images, which hold nothing."""
        if mapping["device"] in self.own_devices:
            found: Snapshot = self.ctx.find("snapshot", mapping["snapshot"])
            return found
        return self.ctx.session.scalar(select(Snapshot).where(Snapshot.id == mapping["snapshot"]))

    # --- what it looks like ----------------------------------------------------------------------------------------

    def _shown(self) -> dict[str, Any]:
        """The members of the answer that come from the call and the image, and stay as they are."""
        spec, notes = self.spec, self.image.notes
        placement = spec.get("Placement") or {}
        shown: dict[str, Any] = {
            "ClientToken": spec.get("ClientToken") or "",
            "EbsOptimized": bool(spec.get("EbsOptimized")),
            "Hypervisor": "xen",
            "RootDeviceType": notes.get("RootDeviceType", "ebs"),
            "VirtualizationType": notes.get("VirtualizationType", "hvm"),
            "EnaSupport": bool(notes.get("EnaSupport")),
            "PlatformDetails": notes.get("PlatformDetails", "Linux/UNIX"),
            "UsageOperation": notes.get("UsageOperation", "RunInstances"),
            "ProductCodes": [],
            "CpuOptions": cpu_options(self.flavor, spec.get("CpuOptions") or {}),
            "CapacityReservationSpecification": capacity_specification(spec),
            "HibernationOptions": {"Configured": self._hibernates()},
            "MetadataOptions": launch_options(self.ctx, spec, notes),
            "EnclaveOptions": {"Enabled": bool((spec.get("EnclaveOptions") or {}).get("Enabled"))},
            "MaintenanceOptions": {
                "AutoRecovery": (spec.get("MaintenanceOptions") or {}).get("AutoRecovery", "default"),
                "RebootMigration": "default",
            },
            "PrivateDnsNameOptions": private_dns(self.cards[0].segment, spec.get("PrivateDnsNameOptions") or {}),
            "NetworkPerformanceOptions": {
                "BandwidthWeighting": (spec.get("NetworkPerformanceOptions") or {}).get("BandwidthWeighting", "default")
            },
            "Operator": {"Managed": False},
            "CurrentInstanceBootMode": "uefi" if str(notes.get("BootMode", "")).startswith("uefi") else "legacy-bios",
            "Placement": {
                "Tenancy": "default",
                "GroupName": "",
                **self._placement(placement),
            },
        }
        for member in ("Platform", "BootMode", "TpmSupport", "SriovNetSupport"):
            if notes.get(member):
                shown[member] = notes[member]
        for member in ("KernelId", "RamdiskId"):
            if spec.get(member) or notes.get(member):
                shown[member] = spec.get(member) or notes[member]
        return shown

    def _placement(self, placement: Mapping[str, Any]) -> dict[str, Any]:
        found = {member: placement[member] for member in ("Affinity", "SpreadDomain") if placement.get(member)}
        if self.group is not None:
            found |= {"GroupName": self.group.name, "GroupId": self.group.id}
        return found

    def _hibernates(self) -> bool:
        asked = bool((self.spec.get("HibernationOptions") or {}).get("Configured"))
        if asked and not can_hibernate(self.ctx):
            raise AWSError("UnsupportedHibernationConfiguration", "What runs instances here cannot hibernate them.")
        return asked

    # --- making ----------------------------------------------------------------------------------------------------

    def guest(self, number: int, site: Site) -> Guest:
        """Make the instance with that launch index, where `find_site` found room for it."""
        ctx, spec = self.ctx, self.spec
        id = self._mint("instance")
        segment = self.cards[0].segment
        credits = (spec.get("CreditSpecification") or {}).get("CpuCredits")
        notes: dict[str, Any] = {"shown": self.shown}
        if (partition := site.partition) is not None:
            notes["shown"] = self.shown | {"Placement": self.shown["Placement"] | {"PartitionNumber": partition}}
        if self.shown["MaintenanceOptions"]["AutoRecovery"] == "disabled":
            notes["recovers"] = False
        if self.login_key is not None:
            notes["login_key"] = self.login_key
        if self.flavor.family.burstable:
            notes["credits"] = credits or default_credits(ctx, self.flavor.family)
        if self.market is not None:
            notes["shown"] = notes["shown"] | self.market.shown(ctx, id, self.zone, self.shown["PlatformDetails"])
        wish = Wish(self.flavor.name, self.shown["PlatformDetails"], self.zone, self.shown["Placement"]["Tenancy"])
        if "SpotInstanceRequestId" not in notes["shown"] and (
            claimed := claim(ctx, wish, self.shown["CapacityReservationSpecification"])
        ):
            notes["reservation"] = claimed
        if self.profile is not None:
            notes["profile"] = associated(ctx, self.profile)
        guest = ctx.compute.add_guest(
            id=id,
            host=site.host,
            apart=site.apart,
            part=id if site.apart is not None and site.part is None else site.part,
            batch=self.batch,
            position=number,
            image=self.image.id,
            flavor=self.flavor.name,
            vcpus=self.flavor.vcpus,
            memory=self.flavor.memory,
            architecture=self.image.architecture,
            zone=self.zone,
            network_id=segment.network_id,
            segment_id=segment.id,
            key_name=self.key,
            user_data=self.user_data,
            profile=None if self.profile is None else self.profile["Id"],
            root_device=self.image.root_device,
            locked=bool(spec.get("DisableApiTermination")),
            stop_locked=bool(spec.get("DisableApiStop")),
            ends_on_shutdown=spec.get("InstanceInitiatedShutdownBehavior") == "terminate",
            monitored=bool((spec.get("Monitoring") or {}).get("Enabled")),
            notes=notes,
        )
        plug_in(ctx, guest, self.cards, self._mint)
        self._give_disks(guest)
        return guest

    def _mint(self, kind: str) -> str:
        """A new id with the tags of the template, and over them those of the call."""
        id = self.ctx.mint(kind)
        if tags := self.template_tags.get(kind):
            given = {tag["Key"] for tag in self.ctx.tags(id)}
            put_tags(self.ctx, kind, id, [tag for tag in tags if tag["Key"] not in given], system=True)
        return id

    def _give_disks(self, guest: Guest) -> None:
        for mapping in self.mappings:
            if "ephemeral" in mapping:
                continue
            source = self.sources.get(mapping.get("snapshot") or "")
            size = mapping.get("size") or (source.size if source is not None else None)
            if size is None:
                raise AWSError("MissingParameter", "The request must contain the parameter size/snapshot")
            own = next((one for one in self.image.mappings if one.get("device") == mapping["device"]), None)
            if (
                own is not None
                and own.get("size")
                and own.get("snapshot") == mapping.get("snapshot")
                and size < own["size"]
            ):
                raise AWSError(
                    "InvalidBlockDeviceMapping",
                    f"Volume of size {size}GB is smaller than snapshot '{own.get('snapshot')}', "
                    f"expect size >= {own['size']}GB",
                )
            iops, throughput = mapping.get("iops"), mapping.get("throughput")
            if mapping["kind"] not in ("gp3", "io1", "io2"):
                iops = throughput = None
            elif mapping["kind"] != "gp3":
                throughput = None
            iops, throughput = performance(mapping["kind"], size, iops, throughput)
            sealing = encryption(
                self.ctx, mapping.get("encrypted"), mapping.get("key"), source is not None and source.encrypted
            )
            disk = self.ctx.volumes.add_disk(
                id=self._mint("volume"),
                zone=self.zone,
                size=size,
                kind=mapping["kind"],
                iops=iops,
                throughput=throughput,
                snapshot=mapping.get("snapshot"),
                source=source,
                encrypted=sealing.encrypted,
                key=sealing.key,
                fault=sealing.fault,
            )
            self.ctx.volumes.hold(disk, guest.id, mapping["device"], keep=bool(mapping.get("keep")))
