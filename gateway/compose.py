"""The parts put together: the only place that knows every backend and every driver."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backends.clock import Clock
from backends.compute import lifecycle as guests
from backends.compute.health import leased
from backends.compute.host import ComputeHost
from backends.compute.scheduler import Scheduler
from backends.compute.service import ComputeService
from backends.db import Database
from backends.identity.seal import Seal
from backends.identity.service import IdentityService
from backends.identity.signet import Signet
from backends.image.service import ImageService
from backends.keys import service as keys
from backends.keys.ring import KeyRing
from backends.metrics.service import MetricService
from backends.network import lifecycle as networks
from backends.network.book import NetworkHost
from backends.network.service import NetworkService
from backends.object.access import AccessLines
from backends.object.cipher import ContentKeys
from backends.object.containers import Containers, ContainerService
from backends.object.outbox import Outbox
from backends.object.store import ObjectStore
from backends.object.sweep import Sweeper
from backends.reconcile import Reconciler
from backends.volume import lifecycle as disks
from backends.volume.capture import FILES, capture, tidy
from backends.volume.host import VolumeHost
from backends.volume.service import VolumeService
from compat import tags
from compat.cloud import Cloud, Rules
from compat.dispatch import Dispatcher
from compat.ec2.volume_types import burst
from compat.iam.directory import directory
from compat.metadata.service import MetadataService
from gateway import chores
from gateway.drivers import local_drivers
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
        cors_origins=settings.cors_origins,
        old_s3_defaults=settings.old_s3_defaults,
        owner_display_names=settings.owner_display_names,
        lifecycle_day=settings.lifecycle_day,
        endpoint=f"http://{settings.host}:{settings.port}",
    )


def _notice(database: Database, host: ComputeHost) -> None:
    """Have the reconciler look when the driver sees something happen."""

    def notice() -> None:
        host.notices.tell()
        database.nudge("compute")

    host.driver.watch(notice)


def compose(settings: Settings, *, drives: bool | None = None) -> Parts:
    """Put a cloud together on an up-to-date database. `drives`: drivers work in this process; by default where the
    engine is inside of it. Else they are asked at the engine, which is nudged."""
    folder: Path = settings.data_dir
    drives = settings.engine == "inside" if drives is None else drives
    # The lock on the data folder keeps other servers away from the database in it.
    clock = Clock(folder / "clock")
    database = Database(settings.database, exclusive=settings.is_alone and settings.database_url is None, clock=clock)
    drivers = local_drivers(settings) if drives else remote_drivers(folder, applies=settings.network != "simulated")
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
    reconciler.add("tokens", lambda: chores.sweep_tokens(database))
    sweeper = Sweeper(objects.ledger, objects.contents, grace=grace(settings))
    reconciler.add("objects", sweeper.step)
    metadata = MetadataService(cloud, seal, cloud.hosts["signet"])
    attendance = _attendance(settings, cloud, compute, metadata) if drives and network.driver.applies else None
    if not drives:
        nudger = Nudger(folder)
        for topic in {*reconciler.topics, *weaver.topics, *tender.topics, *disks.TOPICS}:
            database.on_nudge(topic, partial(nudger.nudge, topic))
    keeper = chores.keeper(settings, cloud)
    courier = chores.courier(settings, cloud)
    dispatcher = Dispatcher(cloud)
    return Parts(
        drives,
        cloud,
        clock,
        dispatcher,
        reconciler,
        weaver,
        tender,
        chores.gauger(cloud, compute),
        keeper,
        copier,
        courier,
        chores.porter(settings, cloud),
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
