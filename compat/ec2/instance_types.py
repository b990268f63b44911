"""Instance types and where they are offered."""

from __future__ import annotations

from compat.context import Context
from compat.ec2.flavors import flavors, render_flavor
from compat.ec2.listing import at, cut, named, pick
from compat.errors import AWSError
from compat.filters import Filters, Rowwise
from compat.operation import Params, Result, operation
from compat.regions import zones


def _at(path: str) -> Rowwise:
    return at(lambda ctx, name: render_flavor(name), path)


TYPE_FILTERS: Filters = {
    "auto-recovery-supported": _at("AutoRecoverySupported"),
    "bare-metal": _at("BareMetal"),
    "burstable-performance-supported": _at("BurstablePerformanceSupported"),
    "current-generation": _at("CurrentGeneration"),
    "dedicated-hosts-supported": _at("DedicatedHostsSupported"),
    "ebs-info.attachment-limit-type": _at("EbsInfo.AttachmentLimitType"),
    "ebs-info.maximum-ebs-attachments": _at("EbsInfo.MaximumEbsAttachments"),
    "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps": _at("EbsInfo.EbsOptimizedInfo.BaselineBandwidthInMbps"),
    "ebs-info.ebs-optimized-info.baseline-iops": _at("EbsInfo.EbsOptimizedInfo.BaselineIops"),
    "ebs-info.ebs-optimized-info.baseline-throughput-in-mbps": _at("EbsInfo.EbsOptimizedInfo.BaselineThroughputInMBps"),
    "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps": _at("EbsInfo.EbsOptimizedInfo.MaximumBandwidthInMbps"),
    "ebs-info.ebs-optimized-info.maximum-iops": _at("EbsInfo.EbsOptimizedInfo.MaximumIops"),
    "ebs-info.ebs-optimized-info.maximum-throughput-in-mbps": _at("EbsInfo.EbsOptimizedInfo.MaximumThroughputInMBps"),
    "ebs-info.ebs-optimized-support": _at("EbsInfo.EbsOptimizedSupport"),
    "ebs-info.encryption-support": _at("EbsInfo.EncryptionSupport"),
    "ebs-info.nvme-support": _at("EbsInfo.NvmeSupport"),
    "free-tier-eligible": _at("FreeTierEligible"),
    "hibernation-supported": _at("HibernationSupported"),
    "hypervisor": _at("Hypervisor"),
    "instance-storage-info.disk.count": _at("InstanceStorageInfo.Disks.Count"),
    "instance-storage-info.disk.size-in-gb": _at("InstanceStorageInfo.Disks.SizeInGB"),
    "instance-storage-info.disk.type": _at("InstanceStorageInfo.Disks.Type"),
    "instance-storage-info.encryption-support": _at("InstanceStorageInfo.EncryptionSupport"),
    "instance-storage-info.nvme-support": _at("InstanceStorageInfo.NvmeSupport"),
    "instance-storage-info.total-size-in-gb": _at("InstanceStorageInfo.TotalSizeInGB"),
    "instance-storage-supported": _at("InstanceStorageSupported"),
    "instance-type": _at("InstanceType"),
    "memory-info.size-in-mib": _at("MemoryInfo.SizeInMiB"),
    "network-info.bandwidth-weightings": _at("NetworkInfo.BandwidthWeightings"),
    "network-info.efa-info.maximum-efa-interfaces": _at("NetworkInfo.EfaInfo.MaximumEfaInterfaces"),
    "network-info.efa-supported": _at("NetworkInfo.EfaSupported"),
    "network-info.ena-support": _at("NetworkInfo.EnaSupport"),
    "network-info.encryption-in-transit-supported": _at("NetworkInfo.EncryptionInTransitSupported"),
    "network-info.flexible-ena-queues-support": _at("NetworkInfo.FlexibleEnaQueuesSupport"),
    "network-info.ipv4-addresses-per-interface": _at("NetworkInfo.Ipv4AddressesPerInterface"),
    "network-info.ipv6-addresses-per-interface": _at("NetworkInfo.Ipv6AddressesPerInterface"),
    "network-info.ipv6-supported": _at("NetworkInfo.Ipv6Supported"),
    "network-info.maximum-network-cards": _at("NetworkInfo.MaximumNetworkCards"),
    "network-info.maximum-network-interfaces": _at("NetworkInfo.MaximumNetworkInterfaces"),
    "network-info.network-performance": _at("NetworkInfo.NetworkPerformance"),
    "nitro-enclaves-support": _at("NitroEnclavesSupport"),
    "nitro-tpm-info.supported-versions": _at("NitroTpmInfo.SupportedVersions"),
    "nitro-tpm-support": _at("NitroTpmSupport"),
    "processor-info.supported-architecture": _at("ProcessorInfo.SupportedArchitectures"),
    "processor-info.supported-features": _at("ProcessorInfo.SupportedFeatures"),
    "processor-info.sustained-clock-speed-in-ghz": _at("ProcessorInfo.SustainedClockSpeedInGhz"),
    "reboot-migration-support": _at("RebootMigrationSupport"),
    "supported-boot-mode": _at("SupportedBootModes"),
    "supported-root-device-type": _at("SupportedRootDeviceTypes"),
    "supported-usage-class": _at("SupportedUsageClasses"),
    "supported-virtualization-type": _at("SupportedVirtualizationTypes"),
    "vcpu-info.default-cores": _at("VCpuInfo.DefaultCores"),
    "vcpu-info.default-threads-per-core": _at("VCpuInfo.DefaultThreadsPerCore"),
    "vcpu-info.default-vcpus": _at("VCpuInfo.DefaultVCpus"),
    "vcpu-info.valid-cores": _at("VCpuInfo.ValidCores"),
    "vcpu-info.valid-threads-per-core": _at("VCpuInfo.ValidThreadsPerCore"),
}


@operation("ec2:DescribeInstanceTypes")
def describe_instance_types(ctx: Context, p: Params) -> Result:
    """The instance types that guests can have; 100 a page unless asked otherwise."""
    names = {name: name for name in flavors()}
    wanted = p.get("InstanceTypes")
    if wanted:
        if p.get("MaxResults"):
            raise AWSError(
                "InvalidParameterCombination",
                "The parameter MaxResults cannot be used with the parameter InstanceTypes",
            )
        message = "The following supplied instance types do not exist: [{names}]"
        chosen = named(wanted, names, "InvalidInstanceType", message)
    else:
        chosen = list(names)
    rows, token = cut(ctx, p, pick(ctx, p, chosen, TYPE_FILTERS), str, most=100)
    result: Result = {"InstanceTypes": [render_flavor(name) for name in rows]}
    return result if token is None else result | {"NextToken": token}


OFFERING_FILTERS: Filters = {
    "instance-type": lambda ctx, offering: offering["InstanceType"],
    "location": lambda ctx, offering: offering["Location"],
}


@operation("ec2:DescribeInstanceTypeOfferings")
def describe_instance_type_offerings(ctx: Context, p: Params) -> Result:
    """Where each type can be had: in every zone."""
    kind = p.get("LocationType") or "region"
    places = {
        "region": [ctx.region],
        "availability-zone": [zone.name for zone in zones(ctx.region)],
        "availability-zone-id": [zone.id for zone in zones(ctx.region)],
        "outpost": [],
    }[kind]
    offerings = [
        {"InstanceType": name, "LocationType": kind, "Location": place} for name in flavors() for place in places
    ]
    chosen = pick(ctx, p, offerings, OFFERING_FILTERS)
    rows, token = cut(ctx, p, chosen, lambda one: f"{one['InstanceType']}/{one['Location']}", most=1000)
    result: Result = {"InstanceTypeOfferings": rows}
    return result if token is None else result | {"NextToken": token}
