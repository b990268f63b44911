"""What a cloud does by itself, beside making wishes come true: each chore on a thread of its own, woken by topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.compute.host import ComputeHost
from backends.compute.usage import Meter
from backends.db import Database, Unit
from backends.object.access import ACCESS, AccessLines, Line
from backends.object.audit import BackgroundAudit
from backends.object.outbox import ERRANDS, EVENTS, Outbox, Run
from backends.object.rounds import Rounds
from backends.reconcile import Reconciler
from compat import tokens
from compat.cloud import Cloud
from compat.cloudwatch.gauge import Gauge, has_alarms
from compat.s3.lifecycle import Lifecycle
from gateway.settings import Settings

TASKS = "records"
"""The topic of tasks that bring disk images in and out."""

LIFE = "life"
"""The topic of what happens to objects by themselves, with time."""


def _deliver_logs(cloud: Cloud) -> bool:
    """Deliver the access logs of buckets that keep one."""
    lines: AccessLines = cloud.hosts["access"]

    def deliver(container: int, found: Sequence[Line]) -> None:
        from compat.s3.access_log import AccessLogs  # with much of S3: not before there is a line

        AccessLogs(cloud).deliver(container, found)

    return lines.step(deliver)


def _errands(cloud: Cloud) -> dict[str, Run]:
    """What does each kind of errand."""
    from compat.s3.replication import Replication  # with much of S3: not before there is an errand
    from compat.s3.replication_document import KIND
    from compat.s3.restored import KIND as RESTORED
    from compat.s3.restored import Restored

    return {KIND: Replication(cloud).run, RESTORED: Restored(cloud).run}


def courier(settings: Settings, cloud: Cloud) -> Reconciler | None:
    """What sends events to the operator's webhook, on a thread that may wait for it."""
    if settings.events_webhook is None:
        return None
    from compat.s3.telling import sender
    from gateway.webhook import Webhook

    outbox: Outbox = cloud.hosts["outbox"]
    reconciler = Reconciler(cloud.database, period=1.0)
    send = sender(Webhook(settings.events_webhook).post)
    reconciler.add(EVENTS, lambda: outbox.deliver(send))
    return reconciler


def porter(settings: Settings, cloud: Cloud) -> Reconciler:
    """What does the tasks that import and export disk images."""
    made: list[Callable[[], bool]] = []

    def work() -> bool:
        from compat.ec2.transfer_tasks import has_open

        if not has_open(cloud.database):
            return False
        if not made:
            from compat.ec2.transfers import Transfers  # with much of EC2: not before there is a task

            made.append(Transfers(cloud, settings.data_dir / "transfers").step)
        return made[0]()

    reconciler = Reconciler(cloud.database)
    reconciler.add(TASKS, work)
    return reconciler


def gauger(cloud: Cloud, host: ComputeHost) -> Reconciler:
    """What keeps a series of what guests use."""
    gauge = Gauge(cloud.database, Meter(cloud.database, host), host)
    # A second's delay is nothing to somebody who looks once a minute.
    reconciler = Reconciler(cloud.database, period=2.0, glance=1.0)
    reconciler.add(LIFE, gauge.step)
    made: list[Callable[[], bool]] = []

    def look_at_alarms() -> bool:
        if not made:
            with cloud.database.unit(None, write=False) as unit:
                if not has_alarms(unit.session):
                    return False
            from compat.cloudwatch.alarm_rounds import AlarmRounds  # not before there is an alarm

            made.append(AlarmRounds(cloud).step)
        return made[0]()

    reconciler.add(LIFE, look_at_alarms)
    return reconciler


def keeper(settings: Settings, cloud: Cloud) -> Reconciler:
    """What does to objects what time does, on a thread of its own."""
    outbox: Outbox = cloud.hosts["outbox"]
    rounds = Rounds(cloud.hosts["objects"], Lifecycle(cloud).plans)

    def go_round() -> bool:
        more = rounds.step()
        outbox.wake()
        return more

    reconciler = Reconciler(cloud.database, period=min(10.0, settings.lifecycle_day / 4))
    for topic in (LIFE, "container"):
        reconciler.add(topic, go_round)
    reconciler.add(EVENTS, outbox.trim)
    reconciler.add(ACCESS, lambda: _deliver_logs(cloud))
    reconciler.add(LIFE, lambda: _deliver_logs(cloud))

    def run_errands() -> bool:
        return outbox.has_errands() and outbox.run(_errands(cloud))

    reconciler.add(ERRANDS, run_errands)
    reconciler.add(LIFE, run_errands)
    if settings.audit_rate:
        objects, rate, period = cloud.hosts["objects"], settings.audit_rate << 20, settings.audit_days * 86400
        reconciler.add("audit", BackgroundAudit(objects.ledger, objects.contents.driver, rate=rate, period=period).step)
    return reconciler


def sweep_tokens(database: Database) -> bool:
    """Forget client tokens that are too old to be asked for again; never more to do at once."""
    unit: Unit
    with database.unit(None, write=True) as unit:
        tokens.sweep(unit)
    return False
