"""--network linux, from the API to the packet: what a user changes through boto3 is what packets meet a moment later.

Guests are simulated; a namespace with a card stands in for each one, named and adopted as a hypervisor's would be.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.compat.conftest import Client
from tests.sandbox import Sandbox
from tests.server import Server

pytestmark = pytest.mark.real

ARGUMENTS = ("--network", "linux")
ENVIRONMENT = {"NEPHELE_DEPLOYMENT": "e2e", "NEPHELE_PUBLIC_POOL": "198.51.100.0/24"}
ANY = "0.0.0.0/0"
SOON = 8.0
"""Seconds within which a change reaches the kernel on the slowest machine; every wait ends as soon as it has."""


class Cloud:
    """A tenant's boto3 client, and the guests that stand in for its instances."""

    def __init__(self, ec2: Client, sandbox: Sandbox) -> None:
        self.ec2, self.sandbox = ec2, sandbox
        self.guests: dict[str, str] = {}

    def vpc(self, cidr: str) -> tuple[str, str, str]:
        """A VPC with one subnet; its ids, and its main route table's."""
        vpc = self.ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        subnet = self.subnet(vpc, cidr.replace("0.0/16", "1.0/24"))
        tables = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
        return vpc, subnet, tables[0]["RouteTableId"]

    def subnet(self, vpc: str, cidr: str) -> str:
        id: str = self.ec2.create_subnet(VpcId=vpc, CidrBlock=cidr)["Subnet"]["SubnetId"]
        return id

    def open_group(self, vpc: str, *, ping: bool = True) -> str:
        name = f"group-{vpc}-{len(self.guests)}-{ping}"
        id: str = self.ec2.create_security_group(VpcId=vpc, GroupName=name, Description="d")["GroupId"]
        if ping:
            self.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[PING])
        return id

    def guest(self, subnet: str, group: str) -> tuple[str, str]:
        """An interface, and a guest that it is in: (interface, address)."""
        made = self.ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]
        id, ip = made["NetworkInterfaceId"], made["PrivateIpAddress"]
        self.guests[id] = ip
        name = "n" + hashlib.sha256(f"e2e/{id}".encode()).hexdigest()[:12]
        gateway = ip.rsplit(".", 1)[0] + ".1"
        script = f"""
            ip netns add {id}
            ip link add {name} type veth peer name eth0 netns {id} address {made["MacAddress"]}
            ip -n {id} link set lo up
            ip -n {id} link set eth0 up
            ip -n {id} addr add {ip}/24 dev eth0
            ip -n {id} route add default via {gateway}
        """
        self.sandbox.run("sh", "-ec", script)
        # A change of the network has its links looked for at once; without one it is done by the clock.
        for check in (False, True):
            self.ec2.modify_network_interface_attribute(NetworkInterfaceId=id, SourceDestCheck={"Value": check})
        return id, ip

    def pings(self, sender: str, ip: str) -> bool:
        """Whether an echo request from a guest ("": from the host) is answered."""
        inside = ["ip", "netns", "exec", sender] if sender else []
        done = self.sandbox.run(*inside, "ping", "-c1", "-W", "0.3", "-q", ip, check=False)
        return done.returncode == 0

    def soon(self, sender: str, ip: str, passes: bool) -> None:
        """Pings pass, or do not, within a moment."""
        until(lambda: self.pings(sender, ip) is passes)


PING = {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": ANY}]}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def tenant(client: Callable[..., Client], sandbox: Sandbox) -> Cloud:
    return Cloud(client("ec2"), sandbox)


def test_a_group_s_change_is_seen_by_packets(tenant: Cloud) -> None:
    vpc, subnet, _ = tenant.vpc("10.0.0.0/16")
    group, closed = tenant.open_group(vpc), tenant.open_group(vpc, ping=False)
    one, _ = tenant.guest(subnet, group)
    two, ip = tenant.guest(subnet, closed)
    other, _ = tenant.guest(tenant.subnet(vpc, "10.0.2.0/24"), group)
    tenant.soon(two, tenant.guests[one], True)
    assert not tenant.pings(one, ip)
    assert not tenant.pings(other, ip)
    near = {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "UserIdGroupPairs": [{"GroupId": group}]}
    tenant.ec2.authorize_security_group_ingress(GroupId=closed, IpPermissions=[near])
    tenant.soon(one, ip, True)
    assert tenant.pings(other, ip)
    tenant.ec2.modify_network_interface_attribute(NetworkInterfaceId=other, Groups=[closed])
    tenant.soon(other, ip, False)
    assert tenant.pings(one, ip)
    tenant.ec2.revoke_security_group_ingress(GroupId=closed, IpPermissions=[near])
    tenant.soon(one, ip, False)


def test_public_addresses_and_translators_lead_in_and_out(tenant: Cloud) -> None:
    vpc, subnet, table = tenant.vpc("10.1.0.0/16")
    group = tenant.open_group(vpc)
    web, _ = tenant.guest(subnet, group)
    private = tenant.subnet(vpc, "10.1.2.0/24")
    inner, _ = tenant.guest(private, group)
    gateway = tenant.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    tenant.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    tenant.ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANY, GatewayId=gateway)
    address = tenant.ec2.allocate_address(Domain="vpc")
    bound = tenant.ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=web)
    tenant.soon("", address["PublicIp"], True)
    assert not tenant.pings(inner, address["PublicIp"])
    second = tenant.ec2.allocate_address(Domain="vpc")
    nat = tenant.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=second["AllocationId"])["NatGateway"]
    mine = tenant.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    tenant.ec2.associate_route_table(RouteTableId=mine, SubnetId=private)
    tenant.ec2.create_route(RouteTableId=mine, DestinationCidrBlock=ANY, NatGatewayId=nat["NatGatewayId"])
    tenant.soon(inner, address["PublicIp"], True)
    assert not tenant.pings("", second["PublicIp"])
    # The host's own address towards guests, and what it serves, are out of reach.
    assert not tenant.pings(web, "198.51.100.0")
    tenant.ec2.disassociate_address(AssociationId=bound["AssociationId"])
    tenant.soon("", address["PublicIp"], False)


def test_peerings_lead_to_the_other_network_and_no_further(tenant: Cloud) -> None:
    guests, vpcs, tables = [], [], []
    for number in (2, 3, 4):
        vpc, subnet, table = tenant.vpc(f"10.{number}.0.0/16")
        vpcs.append(vpc)
        tables.append(table)
        guests.append(tenant.guest(subnet, tenant.open_group(vpc)))
    for one, other in ((0, 1), (1, 2)):
        asked = tenant.ec2.create_vpc_peering_connection(VpcId=vpcs[one], PeerVpcId=vpcs[other])
        id = asked["VpcPeeringConnection"]["VpcPeeringConnectionId"]
        tenant.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=id)
        for mine, theirs in ((one, other), (other, one)):
            tenant.ec2.create_route(
                RouteTableId=tables[mine], DestinationCidrBlock=f"10.{theirs + 2}.0.0/16", VpcPeeringConnectionId=id
            )
        if one == 0:
            tenant.ec2.create_route(
                RouteTableId=tables[0], DestinationCidrBlock="10.4.0.0/16", VpcPeeringConnectionId=id
            )
            first = id
    (a, ip), (b, _), (c, far) = guests
    tenant.soon(b, ip, True)
    tenant.soon(c, tenant.guests[b], True)
    assert not tenant.pings(a, far)
    tenant.ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=first)
    tenant.soon(b, ip, False)
    assert tenant.pings(b, far)


def test_a_filter_is_stateless_and_ends_what_is_under_way(tenant: Cloud) -> None:
    vpc, subnet, _ = tenant.vpc("10.5.0.0/16")
    group = tenant.open_group(vpc)
    one, ip = tenant.guest(subnet, group)
    two, _ = tenant.guest(tenant.subnet(vpc, "10.5.2.0/24"), group)
    tenant.soon(two, ip, True)
    acls = tenant.ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]
    tenant.ec2.create_network_acl_entry(
        NetworkAclId=acls[0]["NetworkAclId"],
        RuleNumber=1,
        Egress=True,
        Protocol="1",
        IcmpTypeCode={"Type": 0, "Code": -1},
        RuleAction="deny",
        CidrBlock=ANY,
    )
    tenant.soon(two, ip, False)


def test_pools_that_overlap_are_told(cloud: Server, tenant: Cloud, tmp_path: Path) -> None:
    """The default VPC leads outside, so that this machine has its deployment's link."""
    tenant.ec2.describe_vpcs()
    until(lambda: "e2e" in tenant.sandbox.run("ip", "-d", "link").stdout)
    for pool, well in (("198.51.100.128/25", False), ("198.18.0.0/15", True)):
        environment = {"NEPHELE_PUBLIC_POOL": pool, "NEPHELE_DATA_DIR": str(tmp_path / "other")}
        words = ["env", *(f"{name}={value}" for name, value in environment.items()), sys.executable, "-m", "gateway"]
        found = json.loads(tenant.sandbox.run(*words, "doctor", "--json", check=False).stdout)["findings"]
        told = next(one for one in found if one["name"] == "public pool")
        assert told["well"] is well, told
        if not well:
            assert "198.51.100.0/24 of deployment e2e" in told["said"]
            assert told["mend"] == "sudo make real NEPHELE_PUBLIC_POOL=198.18.0.0/16"
        with Server(tmp_path / "other", *ARGUMENTS, environment=environment, prefix=tenant.sandbox.prefix) as other:
            assert ("198.51.100.0/24 of deployment e2e" in other.log.read_text()) is not well
            other.log.unlink()
    assert "overlaps" not in cloud.log.read_text()


def test_ipv6_is_refused_by_name(tenant: Cloud) -> None:
    vpc, subnet, _ = tenant.vpc("10.8.0.0/16")
    for asked in (
        lambda: tenant.ec2.create_vpc(CidrBlock="10.9.0.0/16", AmazonProvidedIpv6CidrBlock=True),
        lambda: tenant.ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True),
    ):
        with pytest.raises(ClientError, match="IPv6 is not implemented") as refused:
            asked()
        assert refused.value.response["Error"]["Code"] == "NotImplemented"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    found = tenant.ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.9.0.0/16"]}])["Vpcs"]
    assert found == []
    with pytest.raises(ClientError):
        tenant.ec2.create_network_interface(SubnetId=subnet, Ipv6AddressCount=1)


LISTEN = """
import select, socket, sys, time
card = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
card.bind(("eth0", 0x0800))
print("ready", flush=True)
ends, seen = time.monotonic() + float(sys.argv[1]), 0
while select.select([card], [], [], max(ends - time.monotonic(), 0))[0]:
    frame, sender = card.recvfrom(4096)
    seen += sender[2] == 0 and frame[9] == 17 and frame[20:22] == b"\\0\\x35"
print(seen, flush=True)
"""
ASK = """
import dns.message, dns.query, sys
try:
    dns.query.udp(dns.message.make_query("nephele.internal", "A"), "169.254.169.253", timeout=float(sys.argv[2]),
        source=sys.argv[1])
    print("answered")
except dns.exception.Timeout:
    print("silence")
"""


def test_who_may_route_asks_nobody_for_others_answers(tenant: Cloud) -> None:
    """Without the check of its source a guest may send under any address, but not to what is served beside it."""
    vpc, subnet, _ = tenant.vpc("10.6.0.0/16")
    group = tenant.open_group(vpc)
    router, _ = tenant.guest(subnet, group)
    victim, ip = tenant.guest(subnet, group)
    tenant.ec2.modify_network_interface_attribute(NetworkInterfaceId=router, SourceDestCheck={"Value": False})
    tenant.soon(router, ip, True)

    def ask(source: str, seconds: str) -> str:
        words = ("ip", "netns", "exec", router, sys.executable, "-c", ASK, source, seconds)
        return tenant.sandbox.run(*words).stdout.strip()

    until(lambda: ask(tenant.guests[router], "1") == "answered")
    tenant.sandbox.run("ip", "-n", router, "addr", "add", f"{ip}/32", "dev", "lo")
    words = ["ip", "netns", "exec", victim, sys.executable, "-c", LISTEN, "1"]
    with subprocess.Popen([*tenant.sandbox.prefix, *words], stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "ready\n"
        assert ask(ip, "0.3") == "silence"
        assert watch.stdout.readline() == "0\n", "the answer went to somebody who never asked"
    assert ask(tenant.guests[router], "5") == "answered"
