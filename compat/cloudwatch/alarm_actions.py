"""What alarms do: they stop, terminate and reboot the instance that their metric is about.

Every other action (a topic of SNS, a policy of Auto Scaling) belongs to a service that is not here: the alarm's history
says that it could not be done.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select

from backends.db import Scope
from compat.cloudwatch.alarm_checks import instance_of, verb_of
from compat.cloudwatch.alarm_rows import Alarm, note
from compat.context import Call
from compat.dispatch import Dispatcher, invoke
from compat.errors import AWSError
from compat.iam.principal import root

if TYPE_CHECKING:
    from compat.cloud import Cloud

OPERATIONS = {"stop": "StopInstances", "terminate": "TerminateInstances", "reboot": "RebootInstances"}


def act(cloud: Cloud, scope: Scope, ids: Sequence[str]) -> None:
    """Do what alarms that changed their state have to do, once, and note how it went."""
    with cloud.database.unit(scope, write=False) as unit:
        due = {row.id: row for row in unit.session.scalars(select(Alarm)) if row.id in ids and row.document.get("due")}
    for id, alarm in due.items():
        done = {action: do(cloud, scope, alarm, action) for action in alarm.document["due"]}
        with cloud.database.unit(scope, write=True) as unit:
            row = unit.session.get(Alarm, id)
            if row is None:
                continue
            row.change(due=list(row.document["due"])[len(alarm.document["due"]) :])
            for action, fault in done.items():
                verb = "Successfully executed" if fault is None else "Failed to execute"
                data = {"actionState": "Succeeded" if fault is None else "Failed", "notificationResource": action}
                data |= {} if fault is None else {"error": fault}
                note(unit.session, unit.now, row, "Action", f"{verb} action {action}", data)


def do(cloud: Cloud, scope: Scope, alarm: Alarm, action: str) -> str | None:
    """Do one action; what went wrong, None where nothing did."""
    verb, instance = verb_of(action), instance_of(alarm.about)
    if verb not in OPERATIONS or instance is None:
        return "The service that this action belongs to is not offered by Nephele."
    call = Call(
        "ec2", OPERATIONS[verb], {"InstanceIds": [instance]}, root(scope.tenant), scope.region, str(uuid.uuid4())
    )
    try:
        invoke(Dispatcher(cloud), call)
    except AWSError as error:
        return f"{error.code}: {error.message}"
    return None
