"""Roles that belong to a service: made, and taken away, at the service's terms."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING

from backends.identity.models import Role
from compat.iam.catalogue import catalogued
from compat.iam.faults import FAULTS, invalid_input, no_such
from compat.iam.names import new_id, the_role
from compat.iam.roles import render_whole_role
from compat.iam.service_linked_names import NAMES, POLICIES, SUFFIXED
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result


@operation("iam:CreateServiceLinkedRole", on="role/aws-service-role/{AWSServiceName}/*", raises=FAULTS)
def create_service_linked_role(ctx: Context, p: Params) -> Result:
    service, suffix = p["AWSServiceName"], p.get("CustomSuffix")
    if service not in NAMES:
        raise invalid_input(f"Service {service} is not known to have a service-linked role.")
    if suffix and service not in SUFFIXED:
        raise invalid_input(f"Custom suffix is not allowed for {service}")
    name = NAMES[service] + (f"_{suffix}" if suffix else "")
    if ctx.identity.find(Role, name) is not None:
        raise invalid_input(f"Service role name {name} has been taken in this account, please try a different suffix.")
    role = Role(
        id=new_id("AROA"),
        name=name,
        path=f"/aws-service-role/{service}/",
        trust=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": service}}],
            }
        ),
        description=p.get("Description"),
        longest=3600,
        service=service,
        tags={},
    )
    ctx.identity.add(role)
    reference = f"/aws-service-role/{POLICIES[service]}" if service in POLICIES else ""
    if catalogued(reference) is not None:
        ctx.identity.attach(role, reference)
    return {"Role": render_whole_role(ctx, role)}


@operation("iam:DeleteServiceLinkedRole", on=the_role, raises=FAULTS)
def delete_service_linked_role(ctx: Context, p: Params) -> Result:
    role = ctx.identity.get(Role, p["RoleName"])
    if role.service is None:
        raise invalid_input(f"Role {role.name} is not a service-linked role.")
    for reference in ctx.identity.attached(role):
        ctx.identity.detach(role, reference)
    ctx.identity.remove_role(role)
    return {"DeletionTaskId": f"task{role.path}{role.name}/{uuid.uuid4()}"}


@operation("iam:GetServiceLinkedRoleDeletionStatus", on="*", raises=FAULTS)
def get_service_linked_role_deletion_status(ctx: Context, p: Params) -> Result:
    """A role is gone when its deletion is answered, so a task has succeeded as long as no such role was made anew."""
    task = p["DeletionTaskId"]
    named = re.fullmatch(r"task/aws-service-role/[^/]+/([^/]+)/[0-9a-f-]{36}", task)
    if named is None:
        raise no_such(f"Deletion task {task} cannot be found.")
    return {"Status": "SUCCEEDED"}
