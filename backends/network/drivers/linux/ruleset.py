"""A ruleset as named chains, sets and maps, and the text of the transaction from one to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

TABLE = "nephele"


@dataclass(frozen=True)
class Chain:
    """`hook` is what a base chain hangs on ("" for others); `family` is whose packets it sees, "ip" or "arp"."""

    hook: str
    rules: tuple[str, ...]
    family: str = "ip"


@dataclass(frozen=True)
class Set:
    """A set, or (`kind` "map") a map: element -> value, "" in sets. `flags` e.g. "flags interval"; `family` as that of
    the chains that look into it."""

    kind: str
    type: str
    flags: str
    elements: dict[str, str]
    family: str = "ip"

    def text(self, keys: list[str]) -> str:
        """Some elements, as nftables takes them."""
        return ", ".join(f"{key} : {self.elements[key]}" if self.elements[key] else key for key in keys)

    @property
    def shape(self) -> tuple[str, str, str]:
        """What cannot be changed."""
        return self.kind, self.type, self.flags


@dataclass(frozen=True)
class Ruleset:
    """A table of each family that occurs, whole."""

    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)


def whole(rules: Ruleset, table: str = TABLE) -> str:
    """The transaction after which the table holds exactly `rules`, whatever it held before."""
    families = sorted(
        {"ip"} | {one.family for one in rules.chains.values()} | {one.family for one in rules.sets.values()}
    )
    emptied = [f"{verb} table {family} {table}" for family in families for verb in ("add", "delete", "add")]
    return "\n".join([*emptied, *_additions(rules, Ruleset(), table)])


def change(old: Ruleset, new: Ruleset, table: str = TABLE) -> str:
    """The transaction from `old`, which the table holds, to `new`; "" when they are equal."""
    lines = [*_additions(new, old, table)]
    gone = [f"{chain.family} {table} {name}" for name, chain in old.chains.items() if name not in new.chains]
    lines += [f"flush chain {place}" for place in gone]
    lines += [f"delete chain {place}" for place in gone]
    lines += [
        f"delete {held.kind} {held.family} {table} {name}" for name, held in old.sets.items() if name not in new.sets
    ]
    return "\n".join(lines)


def _additions(new: Ruleset, old: Ruleset, table: str) -> Iterator[str]:
    """Everything that `new` has more than `old`, without elements that it has not. Names come first: rules
    refer to them."""
    for name, held in new.sets.items():
        if name not in old.sets:
            flags = f"{held.flags}; " if held.flags else ""
            yield f"add {held.kind} {held.family} {table} {name} {{ type {held.type}; {flags}}}"
    for name, chain in new.chains.items():
        if name not in old.chains:
            yield f"add chain {chain.family} {table} {name}" + (f" {{ {chain.hook} }}" if chain.hook else "")
    for name, held in new.sets.items():
        yield from _elements(name, held, old.sets.get(name), table)
    for name, chain in new.chains.items():
        before = old.chains.get(name)
        if before is not None and before.rules == chain.rules:
            continue
        if before is not None:
            yield f"flush chain {chain.family} {table} {name}"
        for rule in chain.rules:
            yield f"add rule {chain.family} {table} {name} {rule}"


def _elements(name: str, new: Set, old: Set | None, table: str) -> Iterator[str]:
    before = {} if old is None else old.elements
    if before == new.elements:
        return
    if "interval" in new.flags:  # parts of ranges cannot be told apart
        if before:
            yield f"flush set {new.family} {table} {name}"
        before = {}
    gone = [key for key, value in before.items() if new.elements.get(key) != value]
    fresh = [key for key, value in new.elements.items() if before.get(key) != value]
    if gone and old is not None:
        yield f"delete element {new.family} {table} {name} {{ {', '.join(gone)} }}"
    if fresh:
        yield f"add element {new.family} {table} {name} {{ {new.text(fresh)} }}"
