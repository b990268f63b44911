"""Which key a call means: by id, ARN, alias or alias ARN; and how keys are shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from backends.keys.models import State
from backends.keys.ring import KeyRing, Known
from compat.kms import faults, managed
from compat.kms.specs import BY_NATIVE, MEMBERS, SPECS

if TYPE_CHECKING:
    from datetime import datetime

    from compat.context import Context
    from compat.operation import Params

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
STATES = {State.ENABLED: "Enabled", State.DISABLED: "Disabled", State.DOOMED: "PendingDeletion"}
SENTENCES = {State.DISABLED: "disabled", State.DOOMED: "pending deletion"}


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


def ring(ctx: Context) -> KeyRing:
    """The keys of the cloud."""
    found: KeyRing = ctx.cloud.hosts["keys"]
    return found


def arn_of(ctx: Context, key: Key) -> str:
    """A key's ARN."""
    return ctx.arn("kms", f"key/{key.id}", region=key.region, account=key.tenant)


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
    known = ring(ctx).find(part)
    if known is None or (known.tenant, known.region) != (account, region):
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
    if key.purpose != usage:
        raise faults.invalid_usage(arn, key.purpose, operation or ctx.operation.name)
    return arn


def check_enabled(arn: str, key: Key) -> None:
    """Refuse a key that is disabled, or about to go."""
    if key.state == State.DISABLED:
        raise faults.disabled(arn)
    check_lasting(arn, key)


def check_lasting(arn: str, key: Key) -> None:
    """Refuse a key that is about to go."""
    if key.state == State.DOOMED:
        raise faults.invalid_state(arn, SENTENCES[State.DOOMED])


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
        "KeyId": key.id,
        "Arn": arn_of(ctx, key),
        "CreationDate": key.created,
        "Enabled": key.state == State.ENABLED,
        "Description": key.note,
        "KeyUsage": key.purpose,
        "KeyState": STATES[State(key.state)],
        "Origin": "AWS_KMS",
        "KeyManager": "AWS" if key.keeper else "CUSTOMER",
        "CustomerMasterKeySpec": spec,
        "KeySpec": spec,
        "MultiRegion": key.id.startswith("mrk-"),
        MEMBERS[key.purpose]: list(SPECS[spec].uses[key.purpose]),
    }
    if key.goes is not None:
        shown["DeletionDate"] = key.goes
    if shown["MultiRegion"]:
        primary = {"Arn": shown["Arn"], "Region": key.region}
        shown["MultiRegionConfiguration"] = {
            "MultiRegionKeyType": "PRIMARY",
            "PrimaryKey": primary,
            "ReplicaKeys": [],
        }
    return shown
