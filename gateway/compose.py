"""The parts put together: the only place that knows every backend and every driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from backends.clock import Clock
from backends.compute import lifecycle as guests
from backends.compute.drivers.base import GuestDriver
from backends.compute.drivers.simulated import SimulatedGuests
from backends.compute.health import leased
from backends.compute.host import ComputeHost
from backends.compute.scheduler import Scheduler
from backends.compute.service import ComputeService
from backends.compute.usage import Meter
from backends.db import Database, Unit
from backends.identity.seal import Seal
from backends.identity.service import IdentityService
from backends.identity.signet import Signet
from backends.image import qemu_img
from backends.image.service import ImageService
from backends.keys import service as keys
from backends.keys.ring import KeyRing
from backends.metrics.service import MetricService
from backends.network import lifecycle as networks
from backends.network.book import NetworkHost
from backends.network.drivers.base import NetworkDriver
from backends.network.drivers.simulated import SimulatedNetwork
from backends.network.service import NetworkService
from backends.object.access import ACCESS, AccessLines, Line
from backends.object.audit import BackgroundAudit
from backends.object.cipher import ContentKeys
from backends.object.containers import Containers, ContainerService
from backends.object.outbox import ERRANDS, EVENTS, Outbox, Run
from backends.object.rounds import Rounds
from backends.object.store import ObjectStore
from backends.object.sweep import Sweeper
from backends.reconcile import Reconciler
from backends.volume import lifecycle as disks
from backends.volume.capture import FILES, capture, tidy
from backends.volume.drivers.base import DiskDriver, OpenDisks
from backends.volume.drivers.sparse import SparseFiles
from backends.volume.host import VolumeHost
from backends.volume.service import VolumeService
from compat import tags, tokens
from compat.cloud import Cloud, Rules
from compat.cloudwatch.gauge import Gauge, has_alarms
from compat.dispatch import Dispatcher
from compat.ec2.volume_types import burst
from compat.iam.directory import directory
from compat.metadata.service import MetadataService
from compat.s3.lifecycle import Lifecycle
from gateway.engine_link import Nudger, remote_drivers
from gateway.parts import Parts
from gateway.settings import Settings
from gateway.storage import grace, open_blobs

if TYPE_CHECKING:
    from backends.network.attendance import Attendance
    from compat.sts.issuers import Documents

GUEST_SOCKET = "guests.sock"
"""The socket in the data folder at which guests reach the AWS endpoint."""
HOST = "local"
"""The id of the one machine there is."""

TASKS = "records"
"""The topic of tasks that bring disk images in and out."""

LIFE = "life"
"""The topic of what happens to objects by themselves, with time."""


MAKER = "Amazon EC2"
"""What real guests find as the maker of their machine: cloud-init and others know by it where they run."""


def _linux_network(settings: Settings) -> NetworkDriver:
    from backends.network.drivers.linux.driver import LinuxNetwork

    return LinuxNetwork(settings.mark, settings.public_pool, outgoing=settings.outgoing)


DISKS = ("sparse", "qcow2")
GUESTS = ("simulated", "libvirt", "lxc")
NETWORKS: dict[str, Callable[[Settings], NetworkDriver]] = {
    "simulated": lambda settings: SimulatedNetwork(),
    "linux": _linux_network,
}


class CannotRun(Exception):
    """The machine lacks what a driver needs; the message says what, and how to mend it."""


def rules(settings: Settings) -> Rules:
    """What operations must know of the settings."""
    return Rules(
        auth=settings.auth,
        default_account=settings.default_account,
        default_region=settings.default_region,
        root_keys={
            key.access_key: (key.secret_key, key.account or settings.default_account) for key in settings.root_keys
        },
        open_root=settings.has_open_root,
        old_s3_defaults=settings.old_s3_defaults,
        owner_display_names=settings.owner_display_names,
        lifecycle_day=settings.lifecycle_day,
        endpoint=f"http://{settings.host}:{settings.port}",
    )


def preflight(settings: Settings) -> None:
    """Raise `CannotRun` when this machine cannot carry the drivers that the settings name. Nothing is made."""
    lines = []
    if settings.network == "linux":
        from backends.network.drivers import linux

        if lacking := linux.lacks():
            lines += ["--network linux cannot carry packets here; missing:", *(f"  {what}" for what in lacking)]
    if settings.compute != "simulated":
        from backends.compute.drivers import libvirt

        if lacks := libvirt.lxc_lacks() if settings.compute == "lxc" else libvirt.lacks(settings.libvirt_uri):
            lines.append(f"--compute {settings.compute} cannot run guests here; missing:")
            lines += [f"  {one.what}: {one.remedy}" for one in lacks]
    if settings.volume == "qcow2" and not qemu_img.present():
        lines += ["--volume qcow2 cannot keep disks here; missing:", "  qemu-img: apt-get install qemu-utils"]
    if lines:
        raise CannotRun("\n".join(lines))


def worry(settings: Settings) -> tuple[str, str]:
    """What speaks against the settings on this machine, though it can carry them, and the variable that mends it; both
    empty when nothing does."""
    if settings.network != "linux":
        return "", ""
    from backends.network.drivers.linux import pools

    others = pools.overlapping(settings.mark, settings.public_pool)
    if not others:
        return "", ""
    taken = ", ".join(f"{pool} of deployment {name}" for name, pool in others)
    free = pools.free()
    return (
        f"public addresses come out of {settings.public_pool}, which overlaps {taken}: where both give out one, "
        "this machine reaches one of its two owners only",
        "" if free is None else f"NEPHELE_PUBLIC_POOL={free}",
    )


def guest_driver(settings: Settings, network: NetworkDriver) -> GuestDriver:
    """What runs guests."""
    if settings.compute == "simulated":
        return SimulatedGuests()
    from backends.compute.drivers import libvirt

    if settings.compute == "lxc":
        folder = settings.data_dir / "guests"
        return libvirt.lxc_guests(folder, settings.mark, network.adopt, overcommit=settings.overcommit)
    return libvirt.qemu_guests(
        settings.data_dir / "guests",
        settings.mark,
        network.adopt,
        uri=settings.libvirt_uri,
        maker=MAKER,
        overcommit=settings.overcommit,
    )


def disk_driver(settings: Settings, guests: GuestDriver) -> DiskDriver:
    """What keeps disks. Drivers have folders of their own: none takes the other's files for leftovers."""
    open_disks: OpenDisks | None = None
    if settings.compute == "libvirt":
        from backends.compute.drivers.libvirt_disks import QemuDisks
        from backends.compute.drivers.libvirt_qemu import QemuGuests

        assert isinstance(guests, QemuGuests), "what `guest_driver` makes of this setting"
        open_disks = QemuDisks(guests)
    elif settings.compute == "lxc":
        from backends.compute.drivers.container_disks import LxcDisks
        from backends.compute.drivers.libvirt_lxc import LxcGuests

        assert isinstance(guests, LxcGuests), "what `guest_driver` makes of this setting"
        open_disks = LxcDisks(guests.records)
    if settings.volume == "sparse":
        return SparseFiles(settings.data_dir / "volumes", open_disks)
    from backends.volume.drivers.qcow2 import Qcow2Disks

    return Qcow2Disks(settings.data_dir / "volumes-qcow2", open_disks)


def _notice(database: Database, host: ComputeHost) -> None:
    """Have the reconciler look when the driver sees something happen."""

    def notice() -> None:
        host.notices.tell()
        database.nudge("compute")

    host.driver.watch(notice)


class _Drivers(NamedTuple):
    network: NetworkDriver
    disks: DiskDriver
    guests: GuestDriver


def _drivers(settings: Settings) -> _Drivers:
    network = NETWORKS[settings.network](settings)
    guests_driver = guest_driver(settings, network)
    return _Drivers(network, disk_driver(settings, guests_driver), guests_driver)


def compose(settings: Settings, *, drives: bool | None = None) -> Parts:
    """Put a cloud together on an up-to-date database. `drives`: drivers work in this process; by default where the
    engine is inside of it. Else they are asked at the engine, which is nudged."""
    folder: Path = settings.data_dir
    drives = settings.engine == "inside" if drives is None else drives
    # The lock on the data folder keeps other servers away from the database in it.
    clock = Clock(folder / "clock")
    database = Database(settings.database, exclusive=settings.is_alone and settings.database_url is None, clock=clock)
    drivers = _drivers(settings) if drives else remote_drivers(folder, applies=settings.network != "simulated")
    network = NetworkHost(driver=drivers.network, public_pool=settings.public_pool)
    volume = VolumeHost(drivers.disks, forgotten=tags.forget, burst=burst)
    crew = ThreadPoolExecutor(4, thread_name_prefix="crew") if drives and drivers.guests.capabilities.runs else None
    compute = ComputeHost(HOST, drivers.guests, volume.driver, network, forgotten=tags.forget, crew=crew, burst=burst)
    if drives:
        _notice(database, compute)
    blobs = open_blobs(settings, database)
    seal = Seal.at(folder)
    objects = ObjectStore(database, blobs, ContentKeys(seal.derive("contents of objects")))
    cloud = Cloud(database, rules(settings))
    cloud.hosts |= {
        "identity": seal,
        "signet": Signet(folder),
        "network": network,
        "volumes": volume,
        "compute": compute,
    }
    cloud.hosts |= {"objects": objects, "containers": Containers(database, objects)}
    cloud.hosts["access"] = AccessLines(database, objects.ledger)
    cloud.hosts["outbox"] = Outbox(database, objects.ledger, sends=settings.events_webhook is not None)
    cloud.hosts["keys"] = KeyRing(database, seal)
    cloud.hosts["documents"] = lambda: _documents(settings)
    scheduler = Scheduler(settings.scheduler_filters, dict(settings.scheduler_weights))
    cloud.services |= {
        "identity": lambda unit: IdentityService(unit, seal),
        "network": lambda unit: NetworkService(unit, network),
        "images": ImageService,
        "volumes": VolumeService,
        "compute": lambda unit: ComputeService(unit, scheduler),
        "metrics": MetricService,
        "containers": lambda unit: ContainerService(unit, objects),
        "keys": lambda unit: keys.KeyService(unit, seal),
    }
    reconciler = Reconciler(database)
    copier = None
    if settings.volume == "sparse":
        for topic in disks.TOPICS:
            reconciler.add(topic, lambda: disks.converge(database, volume))
        reconciler.add("tidiness", lambda: tidy(volume))
    else:
        reconciler.add("volume", lambda: disks.converge_disks(database, volume))
        copier = Reconciler(database)
        for topic in disks.TOPICS:
            copier.add(topic, lambda: capture(database, volume))
        copier.add("tidiness", lambda: tidy(volume))
    # Where what runs guests does not answer, nobody else waits for it.
    tender = reconciler if settings.compute == "simulated" else Reconciler(database)
    for topic in guests.TOPICS:
        tender.add(topic, lambda: guests.converge(database, compute))
    weaver = reconciler
    if network.driver.applies:  # at once, and beside whatever guests and disks take their time for
        weaver = Reconciler(database, gather=0.0)
        database.prompt.add("network")
    weaver.add("network", lambda: bool(networks.converge(database, network)))
    reconciler.add(FILES, lambda: disks.inspect(database, volume))
    reconciler.add("identity", directory(cloud).settle)
    reconciler.add("keys", lambda: keys.settle(database, seal))
    reconciler.add("tokens", lambda: _sweep_tokens(database))
    sweeper = Sweeper(objects.ledger, objects.contents, grace=grace(settings))
    reconciler.add("objects", sweeper.step)
    metadata = MetadataService(cloud, seal, cloud.hosts["signet"])
    attendance = _attendance(settings, cloud, compute, metadata) if drives and network.driver.applies else None
    if not drives:
        nudger = Nudger(folder)
        for topic in {*reconciler.topics, *weaver.topics, *tender.topics, *disks.TOPICS}:
            database.on_nudge(topic, partial(nudger.nudge, topic))
    keeper = _keeper(settings, cloud)
    courier = _courier(settings, cloud)
    dispatcher = Dispatcher(cloud)
    return Parts(
        drives,
        cloud,
        clock,
        dispatcher,
        reconciler,
        weaver,
        tender,
        _gauger(cloud, compute),
        keeper,
        copier,
        courier,
        _porter(settings, cloud),
        volume,
        compute,
        network,
        sweeper,
        metadata,
        attendance,
    )


def _documents(settings: Settings) -> Documents:
    """What fetches the keys of identity providers."""
    from gateway.documents import WebDocuments  # with TLS: not before a token comes

    return WebDocuments(plain=settings.has_open_root)


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


def _courier(settings: Settings, cloud: Cloud) -> Reconciler | None:
    """What sends events to the operator's webhook, on a thread that may wait for it."""
    if settings.events_webhook is None:
        return None
    from compat.s3.telling import sender
    from gateway.webhook import Webhook

    outbox: Outbox = cloud.hosts["outbox"]
    courier = Reconciler(cloud.database, period=1.0)
    send = sender(Webhook(settings.events_webhook).post)
    courier.add(EVENTS, lambda: outbox.deliver(send))
    return courier


def _porter(settings: Settings, cloud: Cloud) -> Reconciler:
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

    porter = Reconciler(cloud.database)
    porter.add(TASKS, work)
    return porter


def _gauger(cloud: Cloud, host: ComputeHost) -> Reconciler:
    """What keeps a series of what guests use."""
    gauge = Gauge(cloud.database, Meter(cloud.database, host), host)
    # A second's delay is nothing to somebody who looks once a minute.
    gauger = Reconciler(cloud.database, period=2.0, glance=1.0)
    gauger.add(LIFE, gauge.step)
    made: list[Callable[[], bool]] = []

    def look_at_alarms() -> bool:
        if not made:
            with cloud.database.unit(None, write=False) as unit:
                if not has_alarms(unit.session):
                    return False
            from compat.cloudwatch.alarm_rounds import AlarmRounds  # not before there is an alarm

            made.append(AlarmRounds(cloud).step)
        return made[0]()

    gauger.add(LIFE, look_at_alarms)
    return gauger


def _keeper(settings: Settings, cloud: Cloud) -> Reconciler:
    """What does to objects what time does, on a thread of its own."""
    outbox: Outbox = cloud.hosts["outbox"]
    rounds = Rounds(cloud.hosts["objects"], Lifecycle(cloud).plans)

    def go_round() -> bool:
        more = rounds.step()
        outbox.wake()
        return more

    keeper = Reconciler(cloud.database, period=min(10.0, settings.lifecycle_day / 4))
    for topic in (LIFE, "container"):
        keeper.add(topic, go_round)
    keeper.add(EVENTS, outbox.trim)
    keeper.add(ACCESS, lambda: _deliver_logs(cloud))
    keeper.add(LIFE, lambda: _deliver_logs(cloud))

    def run_errands() -> bool:
        return outbox.has_errands() and outbox.run(_errands(cloud))

    keeper.add(ERRANDS, run_errands)
    keeper.add(LIFE, run_errands)
    if settings.audit_rate:
        objects, rate, period = cloud.hosts["objects"], settings.audit_rate << 20, settings.audit_days * 86400
        keeper.add("audit", BackgroundAudit(objects.ledger, objects.contents.driver, rate=rate, period=period).step)
    return keeper


def _attendance(settings: Settings, cloud: Cloud, compute: ComputeHost, metadata: MetadataService) -> Attendance:
    """What attends to real networks: DHCP and DNS by itself, the streams by ours."""
    from backends.network.attendance import Attendance
    from backends.network.sockets import Surroundings
    from compat.vpc.resolving import resolve
    from gateway.guest_services import streams_for_guests

    # Where signatures prove nothing, every guest would be whomever it says: there the endpoint is closed to guests.
    api = None if settings.auth == "off" else settings.data_dir / GUEST_SOCKET
    return Attendance(
        Surroundings(
            cloud.database,
            compute.network.driver,
            resolve,
            lambda port: _leased(cloud.database, compute, port),
            streams_for_guests(metadata, api),
            settings.dns_servers,
        )
    )


def _leased(database: Database, compute: ComputeHost, port: str) -> None:
    """A card took its address: note it, on another thread than the one that serves guests."""

    def note() -> None:
        with database.unit(None, write=True) as unit:
            leased(unit, port)

    if compute.crew is not None:
        compute.crew.submit(note)


def _sweep_tokens(database: Database) -> bool:
    unit: Unit
    with database.unit(None, write=True) as unit:
        tokens.sweep(unit)
    return False
