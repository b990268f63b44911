"""One guest with several cards in several subnets, and several addresses on each: all of it under traffic.

A container is the guest; the host talks to it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.compat.real.containers import Container, able
from tests.compat.real.owners import until
from tests.compat.waiting import wait
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ARGUMENTS = ("--compute", "lxc", "--network", "linux")
ANY = [{"CidrIp": "0.0.0.0/0"}]
PING = {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": ANY}
WEB = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": ANY}

KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 80), 1)
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("nothing")
"""


@dataclass
class Card:
    """A card, its private addresses and the public ones that stand for them."""

    id: str
    primary: str
    second: str = ""
    publics: dict[str, str] = field(default_factory=dict)
    attachment: str = ""


class Cards(Container):
    """A container in a VPC with three subnets; only what is behind the first two reaches the outside."""

    def settle(self) -> None:
        vpc = self.ec2.create_vpc(CidrBlock="10.40.0.0/16")["Vpc"]["VpcId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        zone = self.ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
        self.subnets = []
        for number in (1, 2, 3):
            made = self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.40.{number}.0/24", AvailabilityZone=zone)
            self.subnets.append(made["Subnet"]["SubnetId"])
            table = self.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
            self.ec2.associate_route_table(RouteTableId=table, SubnetId=self.subnets[-1])
            if number < 3:
                self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        self.groups = {
            name: self.ec2.create_security_group(VpcId=vpc, GroupName=name, Description="d")["GroupId"]
            for name in ("ping", "web", "closed")
        }
        self.ec2.authorize_security_group_ingress(GroupId=self.groups["ping"], IpPermissions=[PING])
        self.ec2.authorize_security_group_ingress(GroupId=self.groups["web"], IpPermissions=[PING, WEB])
        self.launch(SubnetId=self.subnets[0], SecurityGroupIds=[self.groups["ping"]])
        self.become("running")
        first = self.instance()["NetworkInterfaces"][0]
        self.first_card = Card(first["NetworkInterfaceId"], first["PrivateIpAddress"])
        self.publish(self.first_card, self.first_card.primary)
        self.say("ready at")

    def card(self, subnet: int, *groups: str, second: str = "") -> Card:
        """A card that is not in the guest yet."""
        made = self.ec2.create_network_interface(
            SubnetId=self.subnets[subnet], Groups=[self.groups[name] for name in groups]
        )["NetworkInterface"]
        found = Card(made["NetworkInterfaceId"], made["PrivateIpAddress"], second)
        if second:
            self.ec2.assign_private_ip_addresses(NetworkInterfaceId=found.id, PrivateIpAddresses=[second])
        return found

    def publish(self, card: Card, ip: str) -> None:
        made = self.ec2.allocate_address(Domain="vpc")
        self.ec2.associate_address(AllocationId=made["AllocationId"], NetworkInterfaceId=card.id, PrivateIpAddress=ip)
        card.publics[ip] = made["PublicIp"]

    def plug(self, card: Card, index: int) -> None:
        """Bring a card into the running guest, which takes its address."""
        before = len(self.output())
        card.attachment = self.ec2.attach_network_interface(
            NetworkInterfaceId=card.id, InstanceId=self.id, DeviceIndex=index
        )["AttachmentId"]
        self.say(f"eth{index} has {card.primary}", since=before)
        if card.second:  # DHCP tells of the first address only
            rule = f"ip rule del from {card.second} 2>/dev/null; ip rule add from {card.second} table {100 + index}"
            self.ask(f"ip addr add {card.second}/24 dev eth{index}; {rule}; echo add''ed", "added")

    def unplug(self, card: Card) -> None:
        self.ec2.detach_network_interface(AttachmentId=card.attachment)
        wait(self.ec2, "network_interface_available", NetworkInterfaceIds=[card.id])

    def pings(self, ip: str) -> bool:
        """Whether the host's question is answered."""
        return self.sandbox.run("ping", "-c1", "-W1", "-q", ip, check=False).returncode == 0

    def soon(self, ip: str, passes: bool = True) -> None:
        until(lambda: self.pings(ip) is passes, lambda: f"{ip}: never {passes}\n{self.output()[-2000:]}")


class Steady:
    """Questions from the host, five a second, until it ends; how many stayed without an answer."""

    def __init__(self, sandbox: Sandbox, ip: str) -> None:
        self._process = subprocess.Popen(
            [*sandbox.prefix, "ping", "-i", "0.2", "-q", ip], stdout=subprocess.PIPE, text=True
        )

    def end(self) -> tuple[int, int]:
        """(asked, answered)"""
        self._process.send_signal(2)
        told, _ = self._process.communicate(timeout=30)
        asked, answered = re.findall(r"(\d+) packets transmitted, (\d+) received", told)[0]
        return int(asked), int(answered)


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[Cards]:
    able()
    request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    made = Cards(request.getfixturevalue("cloud"), request.getfixturevalue("sandbox"))
    made.settle()
    yield made
    made.end()


def test_cards_come_and_go_while_others_are_used(world: Cards) -> None:
    public = world.first_card.publics[world.first_card.primary]
    world.soon(public)
    steady = Steady(world.sandbox, public)
    second = world.card(1, "web", second="10.40.2.77")
    third = world.card(2, "ping", second="10.40.3.77")
    for ip in (second.primary, second.second):
        world.publish(second, ip)
    for index, card in ((1, second), (2, third)):
        world.plug(card, index)

    # Each address is answered by its own card, or the check of sources would drop what is answered.
    for ip in second.publics.values():
        world.soon(ip)
    shown = {card["NetworkInterfaceId"]: card for card in world.instance()["NetworkInterfaces"]}
    assert {card["Attachment"]["DeviceIndex"] for card in shown.values()} == {0, 1, 2}
    world.ask(
        "for card in 0 1 2; do ip -4 -o addr show eth$card | wc -l; done | tr '\\n' =; echo cou''nted", "1=2=2=counted"
    )

    # Groups hold for their own card.
    for ip, reached in ((public, False), *((one, True) for one in second.publics.values())):
        done = world.sandbox.run(*world.sandbox.python("-c", KNOCK, ip)[len(world.sandbox.prefix) :])
        assert (done.stdout.strip() == "refused") is reached, (ip, done.stdout)  # nobody listens
    world.ec2.modify_network_interface_attribute(NetworkInterfaceId=second.id, Groups=[world.groups["closed"]])
    world.soon(second.publics[second.primary], False)
    world.soon(second.publics[second.second], False)
    world.ec2.modify_network_interface_attribute(NetworkInterfaceId=second.id, Groups=[world.groups["ping"]])
    world.soon(second.publics[second.second])

    # One that is taken out takes its addresses with it, and brings them back.
    world.unplug(second)
    world.soon(second.publics[second.primary], False)
    world.plug(second, 1)
    for ip in second.publics.values():
        world.soon(ip)
    asked, answered = steady.end()
    assert asked > 10
    assert asked - answered <= 2, "the first card was never touched"
    world.unplug(third)
    world.unplug(second)


def test_each_card_has_its_own_metadata_and_way_out(world: Cards) -> None:
    """Metadata is told to every address of the guest; routes are those of the card's subnet."""
    third = world.card(2, "ping", second="10.40.3.78")
    world.plug(third, 2)
    ask = "echo -n =$(imds meta-data/instance-id)"
    ways = [
        f"ip route replace 169.254.169.254 via 10.40.{ip.split('.')[2]}.1 src {ip}; {ask}"
        for ip in (world.first_card.primary, third.primary, third.second)
    ]
    # The way to its own public address begins in the first card's subnet; the third one's has none.
    own = world.first_card.publics[world.first_card.primary]
    ping = f"ping -c1 -W2 -I $card {own} | grep -c ' 1 packets received'"
    pings = f"for card in eth0 eth2; do echo -n =$({ping}); done; echo =; ip route del 169.254.169.254"
    world.nephele("console", world.id, stdin="; ".join([*ways, pings]) + "\n")
    world.say(f"={world.id}" * 3 + "=1=0=")
    world.unplug(third)
