"""Services that act in the name of a role of the account: who they then are, and what they may."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from compat.context import Call, Context
from compat.iam.authorize import ask
from compat.iam.directory import directory
from compat.iam.principal import Principal, role_session, root, service
from compat.operation import Operation, find

if TYPE_CHECKING:
    from compat.cloud import Cloud

_TRUSTED = Operation("sts", "AssumeRole", lambda ctx, p: None, "*", "sts:AssumeRole", streams=True)


def assume(
    cloud: Cloud, account: str, name: str, who: str, region: str, *, session: str, external_id: str | None = None
) -> Principal | None:
    """The session of the role `name` that the service `who` (`vmie.amazonaws.com`) takes on in `region`, under
    the name `session`.

    None where there is no such role, or its trust policy does not let the service in. Where policies are not enforced,
    the root of the account.
    """
    if cloud.rules.auth != "enforce":
        return root(account)
    known = directory(cloud)
    known.refresh()
    role = known.role(account, name)
    if role is None or role.name != name:
        return None
    arn = f"arn:aws:iam::{account}:role{role.path}{role.name}"
    extra = {} if external_id is None else {"sts:externalid": external_id}
    with acting(cloud, _TRUSTED, service(who, account), region) as ctx:
        if not ask(ctx, "sts:AssumeRole", arn, None, extra).allowed:
            return None
    return replace(role_session(account, role.id, role.name, role.path, session), temporary=True)


@contextlib.contextmanager
def acting(cloud: Cloud, operation: Operation, who: Principal, region: str) -> Iterator[Context]:
    """A call that `who` makes from within the cloud, without a request."""
    find(operation.service, operation.name)  # with it comes what guards the service's resources
    ctx = Context(cloud, operation, Call(operation.service, operation.name, {}, who, region, str(uuid.uuid4())))
    try:
        yield ctx
    finally:
        ctx.close()


def first_refused(ctx: Context, wanted: Mapping[str, str]) -> str | None:
    """The first of these actions (action -> ARN) that the caller is not allowed; None where it may do all."""
    return next((action for action, resource in wanted.items() if not ask(ctx, action, resource).allowed), None)
