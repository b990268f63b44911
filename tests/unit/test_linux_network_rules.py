"""Rulesets of the kernel's networks, as text; and which connections a change ends. No kernel is asked."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from backends.network.drivers.linux import rules, tracked, transaction
from backends.network.drivers.linux.netlink import Connection
from backends.network.drivers.linux.ruleset import Chain, Ruleset, Set, change, whole
from backends.network.plan import NetworkPlan, PortPlan, RulePlan
from tests.compat.real import random_networks, rule_changes

WEB = RulePlan("web", False, "tcp", 80, 80, ("0.0.0.0/0",))
BACK = RulePlan("back", True, "-1", -1, -1, ("0.0.0.0/0",))
NEAR = RulePlan("near", False, "tcp", 22, 22, ("10.0.0.0/8",))


def network(*rules: RulePlan, publics: tuple[tuple[str, str], ...] = ()) -> NetworkPlan:
    port = PortPlan("port", "0a:00:00:00:00:01", "segment", None, ("10.0.0.5",), publics, ("group",), True)
    return NetworkPlan("network", ("10.0.0.0/16",), None, (), (port,), {}, {}, {"group": rules}, ())


def connection(port: int, protocol: int = 6) -> Connection:
    return Connection(("10.0.0.9", "10.0.0.5", protocol, port), ("10.0.0.5", "10.0.0.9", protocol, 40000), b"")


def test_what_nobody_tracks_ends_with_its_rule() -> None:
    pick = tracked.stale(network(WEB, BACK, NEAR), network(BACK, NEAR))
    assert pick is not None
    assert pick(connection(80))
    assert not pick(connection(22))
    assert not pick(connection(80, 17))


def test_what_is_tracked_outlives_its_rule() -> None:
    assert tracked.stale(network(WEB, BACK, NEAR), network(WEB, BACK)) is None
    # Without a rule that lets everything back out, connections to the web are tracked, too.
    assert tracked.stale(network(WEB, NEAR), network(NEAR)) is None
    ping = WEB._replace(id="ping", protocol="icmp", from_port=8, to_port=-1)
    assert tracked.stale(network(ping, BACK), network(BACK)) is None


def test_the_way_back_may_be_in_another_group() -> None:
    def split(*rules: RulePlan) -> NetworkPlan:
        one = network(*rules)
        port = replace(one.ports[0], groups=("group", "other"))
        return replace(one, ports=(port,), groups={**one.groups, "other": (BACK,)})

    pick = tracked.stale(split(WEB, NEAR), split(NEAR))
    assert pick is not None
    assert pick(connection(80))
    assert not pick(connection(22))
    # The same rule under another name, or in another group, lets it go on.
    assert tracked.stale(split(WEB), split(WEB._replace(id="again"))) is None
    moved = split(WEB)
    left = replace(moved, ports=(replace(moved.ports[0], groups=("other",)),))
    assert tracked.stale(moved, left) is not None
    assert tracked.stale(moved, replace(left, groups={"group": (), "other": (BACK, WEB)})) is None


def test_an_address_that_changes_hands_takes_no_connection_along() -> None:
    pick = tracked.stale(network(WEB, publics=(("10.0.0.5", "198.18.0.1"),)), network(WEB))
    assert pick is not None
    assert pick(Connection(("203.0.113.1", "198.18.0.1", 6, 80), ("10.0.0.5", "203.0.113.1", 6, 4000), b""))
    assert not pick(Connection(("10.0.0.7", "10.0.0.8", 6, 80), ("10.0.0.8", "10.0.0.7", 6, 4000), b""))


OLD = Ruleset(
    {"base": Chain("type filter hook input priority 0; policy drop;", ("jump gone",)), "gone": Chain("", ("drop",))},
    {"some": Set("set", "ipv4_addr", "", {"10.0.0.1": "", "10.0.0.2": ""})},
)


def test_a_change_is_no_more_than_the_difference() -> None:
    assert change(OLD, OLD) == ""
    members = {"some": replace(OLD.sets["some"], elements={"10.0.0.2": "", "10.0.0.3": ""})}
    assert change(OLD, Ruleset(OLD.chains, members)).splitlines() == [
        "delete element ip nephele some { 10.0.0.1 }",
        "add element ip nephele some { 10.0.0.3 }",
    ]


def test_what_is_referred_to_comes_first_and_goes_last() -> None:
    base = replace(OLD.chains["base"], rules=("jump fresh",))
    lines = change(OLD, Ruleset({"base": base, "fresh": Chain("", ("accept",))}, {})).splitlines()
    assert lines == [
        "add chain ip nephele fresh",
        "flush chain ip nephele base",
        "add rule ip nephele base jump fresh",
        "add rule ip nephele fresh accept",
        "flush chain ip nephele gone",
        "delete chain ip nephele gone",
        "delete set ip nephele some",
    ]


def test_each_family_has_a_table() -> None:
    asking = Set("set", "ipv4_addr", "", {"10.0.0.1": ""}, "arp")
    hear = Chain("type filter hook input priority 0; policy drop;", ("arp saddr ip @asking accept",), "arp")
    both = Ruleset({**OLD.chains, "hear": hear}, {**OLD.sets, "asking": asking})
    lines = whole(both).splitlines()
    assert lines[:2] == ["add table arp nephele", "delete table arp nephele"]
    assert "add element arp nephele asking { 10.0.0.1 }" in lines
    assert change(both, OLD).splitlines() == [
        "flush chain arp nephele hear",
        "delete chain arp nephele hear",
        "delete set arp nephele asking",
    ]


def test_the_whole_replaces_whatever_is_there() -> None:
    assert whole(OLD).splitlines()[:3] == ["add table ip nephele", "delete table ip nephele", "add table ip nephele"]


@pytest.mark.parametrize("seed", range(3))
def test_a_ruleset_made_of_the_former_one_is_the_one_made_anew(seed: int) -> None:
    dice, made, short = random.Random(seed), random_networks.World(0), 0
    made.shuffle(dice)
    plan = next(iter(made.plans.values()))
    held = rules.compile(plan, str.upper, counted=True)
    for _ in range(40):
        following = rule_changes.mutated(plan, dice)
        fresh = rules.compile(following, str.upper, counted=True)
        found = rules.recompile(plan, held, following, str.upper, counted=True)
        assert found in (None, fresh)
        short += found is not None
        plan, held = following, fresh
    assert short > 10
    moved = replace(plan, ports=plan.ports[1:])
    assert rules.recompile(plan, held, moved, str.upper) is None


def test_what_only_nftables_can_say_is_left_to_it() -> None:
    chains = {"here": Chain("", ("accept",))}
    assert transaction.messages(Ruleset(chains), Ruleset({"here": Chain("", ("tcp dport { 1, 2 } accept",))})) is None
    assert transaction.messages(Ruleset(chains), Ruleset({**chains, "base": OLD.chains["base"]})) is None
    assert transaction.messages(Ruleset(chains), Ruleset(chains, OLD.sets)) is None
    kinds = [
        kind for kind, _, _ in transaction.messages(Ruleset(chains), Ruleset({"there": Chain("", ("drop",))})) or ()
    ]
    assert kinds == [
        transaction.NEWCHAIN,
        transaction.NEWRULE,
        transaction.DELRULE,
        transaction.DELCHAIN,
    ]
