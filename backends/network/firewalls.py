"""Firewall groups and their rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select

from backends.errors import Exists, InUse, Missing
from backends.network.errors import DefaultThing, DuplicateRule, MissingRule, TooManyRules, WrongNetwork
from backends.network.gateways import Gateways
from backends.network.models import Endpoint, FirewallGroup, FirewallRule, Network, Peering, PortGroup, PrefixList
from backends.network.networks import ANYWHERE4, ANYWHERE6
from backends.network.rules import RuleSpec

ROOM = 60
"""Rules that a group can hold in each direction for each IP version."""


class Firewalls(Gateways):
    """Firewall groups and their rules."""

    def add_group(
        self, *, id: str, network: Network, name: str, description: str, rule_out: str, rule_out6: str | None = None
    ) -> FirewallGroup:
        """A group that lets everything out and nothing in; `rule_out6` is used where the network has IPv6.

        Raises `Exists` (with `name`) when the network has that name."""
        if self.group_named(network.id, name) is not None:
            raise Exists(f"{network.id} has a group {name}", name=name, network=network.id)
        group = FirewallGroup(
            id=id, network_id=network.id, name=name, description=description, is_default=False, created=self.now
        )
        group.rules.append(self.everything(rule_out, True, "cidr4", ANYWHERE4))
        if rule_out6 is not None and any(block.family == 6 for block in network.ranges):
            group.rules.append(self.everything(rule_out6, True, "cidr6", ANYWHERE6))
        self.add(group)
        return group

    def group_named(self, network_id: str, name: str) -> FirewallGroup | None:
        """The group of that name in a network."""
        return (
            self.session.execute(
                select(FirewallGroup).where(FirewallGroup.network_id == network_id, FirewallGroup.name == name)
            )
            .scalars()
            .first()
        )

    def remove_group(self, group: FirewallGroup) -> None:
        """Remove a group. Raises `DefaultThing`, and `InUse` (with `by`) while a port is in it or a rule elsewhere
        names it."""
        if group.is_default:
            raise DefaultThing(f"{group.id} is its network's default", id=group.id, name=group.name)
        holder = self.session.execute(select(PortGroup.port_id).where(PortGroup.group_id == group.id).limit(1)).scalar()
        if holder is None:
            holder = self.session.execute(
                select(FirewallRule.group_id)
                .where(FirewallRule.peer == group.id, FirewallRule.group_id != group.id)
                .limit(1)
            ).scalar()
        if holder is None:
            doors = self.session.execute(
                select(Endpoint).where(Endpoint.network_id == group.network_id, Endpoint.state != "deleted")
            )
            holder = next((door.id for door in doors.scalars() if group.id in door.groups), None)
        if holder is not None:
            raise InUse(f"{group.id} is used by {holder}", id=group.id, by=holder)
        self.session.delete(group)

    def allow(
        self, group: FirewallGroup, egress: bool, specs: Sequence[RuleSpec], mint: Callable[[], str]
    ) -> list[FirewallRule]:
        """Add rules, all or none. Raises `DuplicateRule` (with `spec`), `TooManyRules`, `Missing` or `WrongNetwork`
        (a peer)."""
        held = {_key(rule) for rule in group.rules if rule.egress == egress}
        added: list[FirewallRule] = []
        for spec in specs:
            if spec.key in held:
                raise DuplicateRule(f"{group.id} has that rule", spec=spec, id=group.id)
            held.add(spec.key)
            added.append(self._rule(mint(), group, egress, spec))
        for six in (False, True):
            count = sum((key[3] == "cidr6") == six for key in held)
            if count > ROOM:
                raise TooManyRules(f"{group.id} would hold {count} rules", id=group.id, limit=ROOM)
        group.rules.extend(added)
        return added

    def _rule(self, id: str, group: FirewallGroup, egress: bool, spec: RuleSpec) -> FirewallRule:
        self._check_peer(group, spec)
        return FirewallRule(
            id=id,
            egress=egress,
            protocol=spec.protocol,
            from_port=spec.from_port,
            to_port=spec.to_port,
            peer_kind=spec.peer_kind,
            peer=spec.peer,
            description=spec.description,
            created=self.now,
            notes={},
        )

    def _check_peer(self, group: FirewallGroup, spec: RuleSpec) -> None:
        if spec.peer_kind == "group" and spec.peer != group.id:
            network_id = self.session.execute(
                select(FirewallGroup.network_id).where(FirewallGroup.id == spec.peer)
            ).scalar()
            if network_id is None:
                raise Missing(f"there is no firewall group {spec.peer}", id=spec.peer, what="group")
            if network_id != group.network_id and not self._peered(network_id, group.network_id):
                raise WrongNetwork(f"{spec.peer} belongs to another network", id=spec.peer, network=group.network_id)
        elif spec.peer_kind == "prefixes":
            if self.session.execute(select(PrefixList.id).where(PrefixList.id == spec.peer)).first() is None:
                raise Missing(f"there is no prefix list {spec.peer}", id=spec.peer, what="prefixes")

    def _peered(self, one: str, other: str) -> bool:
        return (
            self.session.execute(
                select(Peering.id).where(
                    Peering.state == "active",
                    Peering.requester_network_id.in_((one, other)),
                    Peering.accepter_network_id.in_((one, other)),
                )
            ).first()
            is not None
        )

    def find_rules(self, group: FirewallGroup, egress: bool, specs: Sequence[RuleSpec]) -> list[FirewallRule]:
        """The rules of a group that are spelled so. Raises `MissingRule` (with `spec`) when one is not there."""
        held = {_key(rule): rule for rule in group.rules if rule.egress == egress}
        for spec in specs:
            if spec.key not in held:
                raise MissingRule(f"{group.id} has no such rule", spec=spec, id=group.id)
        return [held[spec.key] for spec in specs]

    def rules_by_id(self, group: FirewallGroup, ids: Sequence[str], egress: bool | None = None) -> list[FirewallRule]:
        """The rules of a group with those ids. Raises `MissingRule` (with `id`)."""
        held = {rule.id: rule for rule in group.rules if egress is None or rule.egress == egress}
        for id in ids:
            if id not in held:
                raise MissingRule(f"{group.id} has no rule {id}", id=id, group=group.id)
        return [held[id] for id in ids]

    def forbid(self, group: FirewallGroup, rules: Sequence[FirewallRule]) -> None:
        """Take rules out of a group."""
        for rule in rules:
            group.rules.remove(rule)

    def change_rule(self, group: FirewallGroup, rule: FirewallRule, spec: RuleSpec) -> None:
        """Let a rule say something else under its id. Raises `DuplicateRule`, `Missing`, `WrongNetwork`."""
        if any(_key(other) == spec.key and other.egress == rule.egress and other is not rule for other in group.rules):
            raise DuplicateRule(f"{group.id} has that rule", spec=spec, id=group.id)
        self._check_peer(group, spec)
        rule.protocol, rule.from_port, rule.to_port, rule.peer_kind, rule.peer = spec.key
        rule.description = spec.description


def _key(rule: FirewallRule) -> tuple[str, int, int, str, str]:
    return (rule.protocol, rule.from_port, rule.to_port, rule.peer_kind, rule.peer)
