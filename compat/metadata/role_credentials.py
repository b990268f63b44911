"""Temporary credentials of an instance's role: issued like any session's, and good for every signed call."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest
from backends.db import Scope, Unit
from backends.identity.models import Profile, Role
from compat.cloud import Cloud
from compat.context import Call, Context, partition_of
from compat.iam.authorize import ask
from compat.iam.directory import directory
from compat.iam.principal import role_session, service
from compat.metadata.tree import pretty
from compat.operation import Operation
from compat.sts.issuing import session_key

LASTS = timedelta(hours=6)
"""How long credentials are good for."""
RENEWED = timedelta(hours=1)
"""How long before their end the next ones are given; SDKs ask again a quarter of an hour before it."""
EC2 = "ec2.amazonaws.com"

_ASSUME = Operation("sts", "AssumeRole", lambda ctx, p: None, "*", "sts:AssumeRole")


def role_of(unit: Unit, guest: Guest) -> Role | None:
    """The role in the profile that a guest carries now. `unit` must see it."""
    if guest.profile is None:
        return None
    return unit.session.scalar(
        select(Role).join(Profile, Profile.role_id == Role.id).where(Profile.id == guest.profile)
    )


class RoleCredentials:
    """Issues credentials, and hands the same ones out until they are due to be renewed. Safe to share between
    threads. Nothing is lost with it: what was issued stays good, and the next to ask gets new ones."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._held: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._lock = threading.Lock()

    def text(self, guest: Guest, role: Role) -> str:
        """What `iam/security-credentials/ROLE` holds for a guest. Where the role does not trust EC2, an account of
        that."""
        now = self._cloud.database.clock()
        with self._lock:
            held = self._held.get((guest.id, role.id))
            if held is not None and now < held[0] - RENEWED:
                return held[1]
            self._held = {key: value for key, value in self._held.items() if value[0] > now}
            if not self._trusted(guest, role):
                return pretty(
                    {
                        "Code": "AssumeRoleUnauthorizedAccess",
                        "Message": f"EC2 cannot assume the role {role.name}. Please see documentation at "
                        "http://docs.amazonwebservices.com/IAM/latest/UserGuide/RolesTroubleshooting.html.",
                        "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                    }
                )
            expires, text = self._issue(guest, role)
            self._held[guest.id, role.id] = expires, text
            return text

    def _trusted(self, guest: Guest, role: Role) -> bool:
        """Whether the role's trust policy lets EC2 take it on."""
        if self._cloud.rules.auth == "off":
            return True
        partition = partition_of(guest.region)
        arn = f"arn:{partition}:iam::{role.tenant}:role{role.path}{role.name}"
        directory(self._cloud).refresh()
        call = Call("sts", "AssumeRole", {"RoleArn": arn}, service(EC2, guest.tenant), guest.region, "metadata")
        context = Context(self._cloud, _ASSUME, call)
        try:
            return ask(context, "sts:AssumeRole", arn).allowed
        finally:
            context.close()

    def _issue(self, guest: Guest, role: Role) -> tuple[datetime, str]:
        session = role_session(role.tenant, role.id, role.name, role.path, guest.id)
        with self._cloud.database.unit(Scope(role.tenant, ""), write=True) as unit:
            issued = session_key(self._cloud.services["identity"](unit), session, int(LASTS.total_seconds()))
        assert issued.expires is not None
        document: dict[str, Any] = {
            "Code": "Success",
            "LastUpdated": f"{issued.created:%Y-%m-%dT%H:%M:%SZ}",
            "Type": "AWS-HMAC",
            "AccessKeyId": issued.id,
            "SecretAccessKey": issued.secret,
            "Token": issued.token,
            "Expiration": f"{issued.expires:%Y-%m-%dT%H:%M:%SZ}",
        }
        return issued.expires, pretty(document)
