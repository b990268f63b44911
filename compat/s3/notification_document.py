"""Notification configurations: what S3 takes for one, and what one says of an event."""

from __future__ import annotations

import re
import secrets
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from backends.object.containers import Known
from compat.s3 import faults
from compat.s3.documents import rich

EVENTS = {
    "ObjectCreated": ("Put", "Post", "Copy", "CompleteMultipartUpload"),
    "ObjectRemoved": ("Delete", "DeleteMarkerCreated"),
    "ObjectRestore": ("Post", "Completed", "Delete"),
    "ReducedRedundancyLostObject": (),
    "Replication": (
        "OperationFailedReplication",
        "OperationMissedThreshold",
        "OperationReplicatedAfterThreshold",
        "OperationNotTracked",
    ),
    "LifecycleExpiration": ("Delete", "DeleteMarkerCreated"),
    "LifecycleTransition": (),
    "IntelligentTiering": (),
    "ObjectTagging": ("Put", "Delete"),
    "ObjectAcl": ("Put",),
    "ObjectAnnotation": ("Put", "Delete"),
}
"""The families of events and their members."""
KINDS = {
    "QueueConfigurations": ("QueueArn", "sqs"),
    "TopicConfigurations": ("TopicArn", "sns"),
    "LambdaFunctionConfigurations": ("LambdaFunctionArn", "lambda"),
}
EVENT_BRIDGE = "EventBridgeConfiguration"
MOST_CONFIGURATIONS = 100
MOST_ID = 255
MOST_VALUE = 1024
_PLAIN = re.compile(r"[!-~]+").fullmatch


class Wish(NamedTuple):
    """One configured target and what it wants to be told of: names without `s3:`, families spelt out."""

    id: str
    arn: str
    events: frozenset[str]
    prefix: str
    suffix: str

    def wants(self, event: str, key: str) -> bool:
        """Whether it wants to be told of that event of that key. Filters may be written as URLs write keys."""
        if event not in self.events:
            return False
        written = quote_plus(key, safe="/")
        return (key.startswith(self.prefix) or written.startswith(self.prefix)) and (
            key.endswith(self.suffix) or written.endswith(self.suffix)
        )


class Wishes(NamedTuple):
    """All that a bucket's configuration wants."""

    targets: tuple[Wish, ...]
    bridge: bool


def spelt_out(event: str) -> frozenset[str]:
    """The events that a name in a configuration stands for. Raises for a name that stands for none."""
    family, colon, member = event.removeprefix("s3:").partition(":")
    members = EVENTS.get(family)
    if event.startswith("s3:") and members is not None:
        if member == "*" and members:
            return frozenset(f"{family}:{one}" for one in members)
        if (not colon and not members) or (member in members):
            return frozenset((event[3:],))
    raise faults.invalid_argument("The event is not supported for notifications", "Event", event)


def check(bucket: Known, document: dict[str, Any]) -> tuple[Wish, ...]:
    """Refuse what S3 refuses, give ids where there are none; the targets."""
    wishes: list[Wish] = []
    for member, (arn, service) in KINDS.items():
        for one in document.get(member) or ():
            one["Id"] = one.get("Id") or secrets.token_hex(16)
            wishes.append(_wish(bucket, one, one.get(arn) or "", service))
    if len(wishes) > MOST_CONFIGURATIONS:
        raise faults.invalid_argument("The number of notification configurations exceeds the limit of 100")
    if len({wish.id for wish in wishes}) < len(wishes):
        raise faults.invalid_argument("Same ID used for multiple configurations. IDs must be unique")
    for place, wish in enumerate(wishes):
        for other in wishes[:place]:
            if wish.events & other.events and _meet(wish, other):
                raise faults.invalid_argument(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                )
    return tuple(wishes)


def _meet(one: Wish, other: Wish) -> bool:
    """Whether some key fits both filters."""
    return (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)) and (
        one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix)
    )


def _wish(bucket: Known, one: dict[str, Any], arn: str, service: str) -> Wish:
    if len(one["Id"]) > MOST_ID:
        raise faults.invalid_argument("ID length should not exceed allowed limit of 255")
    if not one.get("Events"):
        raise faults.malformed()
    events = frozenset().union(*map(spelt_out, one["Events"]))
    parts = arn.split(":", 5)
    is_one = len(parts) == 6 and parts[0] == "arn" and parts[2] == service and parts[4] and parts[5]
    if not is_one or not _PLAIN(arn):
        raise faults.invalid_argument("The ARN could not be parsed", one.get("Id"), arn)
    if parts[3] != bucket.region:
        raise faults.invalid_argument(
            "The notification destination service region is not valid for the bucket location constraint", None, arn
        )
    if arn.endswith(".fifo"):
        kind = "Queue" if service == "sqs" else "Topic"
        raise faults.invalid_argument(f"The {kind} ARN is of a FIFO destination, which is not supported", None, arn)
    names: dict[str, str] = {}
    for rule in ((one.get("Filter") or {}).get("Key") or {}).get("FilterRules") or ():
        name, value = (rule.get("Name") or "").lower(), rule.get("Value") or ""
        if name not in ("prefix", "suffix"):
            raise faults.invalid_argument("filter rule name must be either prefix or suffix", "FilterRule.Name", name)
        if name in names:
            raise faults.invalid_argument(f"Cannot specify more than one {name} rule in a filter.")
        if len(value.encode()) > MOST_VALUE:
            raise faults.invalid_argument("Size of filter rule value cannot exceed 1024 bytes in UTF-8 encoding")
        names[name] = value
    return Wish(one["Id"], arn, events, names.get("prefix", ""), names.get("suffix", ""))


_compiled: dict[int, tuple[Any, Wishes]] = {}
_MOST_KEPT = 1024


def wishes_of(bucket: Known) -> Wishes:
    """What a bucket that has a configuration wants to be told; compiled once."""
    document = bucket.documents["notification"]
    found = _compiled.get(bucket.number)
    if found is None or found[0] is not document:
        if len(_compiled) > _MOST_KEPT:
            _compiled.clear()
        plain = rich(document)
        targets = tuple(
            _wish(bucket, one, one[arn], service)
            for member, (arn, service) in KINDS.items()
            for one in plain.get(member) or ()
        )
        found = _compiled[bucket.number] = (document, Wishes(targets, EVENT_BRIDGE in plain))
    return found[1]
