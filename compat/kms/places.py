"""Which key a call means: by id, ARN, alias or alias ARN; and how keys are shown."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Protocol

from backends.keys.models import State
from backends.keys.ring import KeyRing, Known, Turn
from compat.kms import faults, managed
from compat.kms.specs import BY_NATIVE, MEMBERS, SPECS

if TYPE_CHECKING:
    from datetime import datetime

    from compat.context import Context
    from compat.operation import Params

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
STATES = {
    State.ENABLED: "Enabled",
    State.DISABLED: "Disabled",
    State.EMPTY: "PendingImport",
    State.DOOMED: "PendingDeletion",
    State.WAITING: "PendingReplicaDeletion",
}
SENTENCES = {
    State.EMPTY: "pending import",
    State.DOOMED: "pending deletion",
    State.WAITING: "pending replica deletion",
}


class Key(Protocol):
    """What there is in a row of a key as in what is kept of it."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def spec(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def keeper(self) -> str: ...
    @property
    def created(self) -> datetime: ...
    @property
    def goes(self) -> datetime | None: ...
    @property
    def lingers(self) -> int: ...
    @property
    def outside(self) -> bool: ...
    @property
    def original(self) -> str | None: ...


def ring(ctx: Context) -> KeyRing:
    """The keys of the cloud."""
    found: KeyRing = ctx.cloud.hosts["keys"]
    return found


def id_of(key: Key) -> str:
    """A key's id as AWS has it: replicas share that of their primary."""
    return key.original or key.id


def arn_of(ctx: Context, key: Key) -> str:
    """A key's ARN."""
    return ctx.arn("kms", f"key/{id_of(key)}", region=key.region, account=key.tenant)


def known_as(ctx: Context, arn: str) -> Known | None:
    """The key of that ARN, whosever it is."""
    fields = arn.split(":", 5)
    return ring(ctx).find_in(fields[5].removeprefix("key/"), fields[3]) if len(fields) == 6 else None


def alias_arn(ctx: Context, name: str, account: str | None = None) -> str:
    """An alias's ARN; `name` begins with `alias/`."""
    return ctx.arn("kms", name, account=account)


def find(ctx: Context, named: str, region: str | None = None) -> Known:
    """The key of `region` (the call's) that a call names in any of the four ways. Raises NotFoundException."""
    account, here, part = ctx.account, region or ctx.region, named
    region = here
    if named.startswith("arn:"):
        fields = named.split(":", 5)
        if len(fields) < 6 or fields[2] != "kms":
            raise faults.not_found(f"Invalid arn {named}")
        region, account, part = fields[3], fields[4], fields[5]
        if region != here:
            raise faults.not_found(f"Invalid arn {region}")
        if not part.startswith(("key/", "alias/")):
            raise faults.not_found(f"Invalid arn {named}")
        part = part.removeprefix("key/")
    if part.startswith("alias/"):
        known = ring(ctx).named(account, region, part)
        if known is None and account == ctx.account:
            known = managed.make(ctx.cloud, account, region, part, ctx.partition)
        if known is None:
            raise faults.not_found(f"Alias {alias_arn(ctx, part, account)} is not found.")
        return known
    known = ring(ctx).find_in(part, region)
    if known is None or known.tenant != account:
        if not ID.fullmatch(part):
            raise faults.not_found(f"Invalid keyId '{part}'")
        raise faults.not_found(f"Key '{ctx.arn('kms', f'key/{part}', account=account)}' does not exist")
    return known


def the_key(ctx: Context, p: Params) -> tuple[str, ...]:
    """For `on=`: the key of the call."""
    return (arn_of(ctx, find(ctx, p["KeyId"])),)


def usable(ctx: Context, key: Known, usage: str, operation: str | None = None) -> str:
    """The ARN of a key that is enabled, and for that; KMS's error otherwise."""
    arn = arn_of(ctx, key)
    check_enabled(arn, key)
    if key.past[-1].ends is not None and key.past[-1].ends <= ctx.now:
        raise faults.invalid_state(arn, SENTENCES[State.EMPTY])
    if key.purpose != usage:
        raise faults.invalid_usage(arn, key.purpose, operation or ctx.operation.name)
    return arn


def check_enabled(arn: str, key: Key) -> None:
    """Refuse a key that is disabled, without material, or about to go."""
    if key.state == State.DISABLED:
        raise faults.disabled(arn)
    check_filled(arn, key)
    check_lasting(arn, key)


def check_filled(arn: str, key: Key) -> None:
    """Refuse a key that has no material yet, or no more."""
    if key.state == State.EMPTY:
        raise faults.invalid_state(arn, SENTENCES[State.EMPTY])


def check_lasting(arn: str, key: Key) -> None:
    """Refuse a key that is about to go."""
    if key.state in (State.DOOMED, State.WAITING):
        raise faults.invalid_state(arn, SENTENCES[State(key.state)])


def check_own(ctx: Context, key: Key) -> None:
    """Refuse what AWS lets nobody do to the keys that it manages."""
    if key.keeper:
        arn = arn_of(ctx, key)
        raise faults.unsupported(f"{arn} is an AWS managed key, and the operation is not allowed on such keys.")


def metadata(ctx: Context, key: Key) -> dict[str, Any]:
    """A key as `KeyMetadata`."""
    spec = BY_NATIVE[key.spec]
    shown: dict[str, Any] = {
        "AWSAccountId": key.tenant,
        "KeyId": id_of(key),
        "Arn": arn_of(ctx, key),
        "CreationDate": key.created,
        "Enabled": key.state == State.ENABLED,
        "Description": key.note,
        "KeyUsage": key.purpose,
        "KeyState": STATES[State(key.state)],
        "Origin": origin(key),
        "KeyManager": "AWS" if key.keeper else "CUSTOMER",
        "CustomerMasterKeySpec": spec,
        "KeySpec": spec,
        "MultiRegion": key.id.startswith("mrk-"),
        MEMBERS[key.purpose]: list(SPECS[spec].uses[key.purpose]),
    }
    if key.goes is not None:
        shown["DeletionDate"] = key.goes
    if key.state == State.WAITING:
        shown["PendingDeletionWindowInDays"] = key.lingers
    return shown | _about_material(ctx, key) | (_about_kin(ctx, key) if shown["MultiRegion"] else {})


def origin(key: Key) -> str:
    """Where a key's material comes from."""
    return "EXTERNAL" if key.outside else "AWS_KMS"


def material_id(key: Key, turn: Turn | None) -> str:
    """What AWS calls one of the materials of a symmetric key; `turn` is None for the first of a key just made."""
    if turn is not None and turn.mark:
        return turn.mark
    number = 1 if turn is None else turn.number
    return hashlib.sha256(f"material {number} of {id_of(key)}".encode()).hexdigest()


def _about_material(ctx: Context, key: Key) -> dict[str, Any]:
    known = key if isinstance(key, Known) else ring(ctx).find(key.id)
    past = known.past if known is not None else ()
    shown: dict[str, Any] = {}
    if key.spec == "SYMMETRIC" and (past or not key.outside):
        shown["CurrentKeyMaterialId"] = material_id(key, past[-1] if past else None)
    if key.outside and past and past[-1].there:
        ends = past[-1].ends
        shown["ExpirationModel"] = "KEY_MATERIAL_DOES_NOT_EXPIRE" if ends is None else "KEY_MATERIAL_EXPIRES"
        if ends is not None:
            shown["ValidTo"] = ends
    return shown


def _about_kin(ctx: Context, key: Key) -> dict[str, Any]:
    kin: list[Key] = list(ring(ctx).kin(id_of(key)))
    if all(one.id != key.id for one in kin):
        kin.append(key)  # just made
    primary, *replicas = ({"Arn": arn_of(ctx, one), "Region": one.region} for one in kin)
    return {
        "MultiRegionConfiguration": {
            "MultiRegionKeyType": "PRIMARY" if key.original is None else "REPLICA",
            "PrimaryKey": primary,
            "ReplicaKeys": replicas,
        }
    }
