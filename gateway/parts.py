"""What a composed cloud consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.clock import Clock
from backends.compute import lifecycle as guests
from backends.compute.health import survey as survey_guests
from backends.compute.host import ComputeHost
from backends.network.book import NetworkHost
from backends.object.sweep import Sweeper
from backends.reconcile import Reconciler
from backends.volume import lifecycle as disks
from backends.volume.host import VolumeHost
from compat.cloud import Cloud
from compat.dispatch import Dispatcher
from compat.metadata.service import MetadataService

if TYPE_CHECKING:
    from backends.network.attendance import Attendance


@dataclass(frozen=True, slots=True)
class Parts:
    """A composed cloud: what answers calls, and what makes wishes come true."""

    drives: bool
    """Whether drivers work in this process; else the engine has them."""
    cloud: Cloud
    clock: Clock
    dispatcher: Dispatcher
    reconciler: Reconciler
    weaver: Reconciler
    """Makes networks real, where they are, on a thread of its own; else the reconciler itself."""
    tender: Reconciler
    """Looks after guests, where they are real, on a thread of its own; else the reconciler itself."""
    gauger: Reconciler
    """Looks at what guests use, every minute, on a thread of its own."""
    keeper: Reconciler
    """Does what happens to objects with time, on a thread of its own."""
    copier: Reconciler | None
    """Copies what disks and snapshots hold, which may take long, on a thread of its own."""
    courier: Reconciler | None
    """Sends events on, where somebody is to get them."""
    porter: Reconciler
    """Brings disk images in and out, which takes long, on a thread of its own."""
    volumes: VolumeHost
    compute: ComputeHost
    network: NetworkHost
    sweeper: Sweeper
    metadata: MetadataService
    attendance: Attendance | None
    """What opens sockets inside networks, where these are real."""

    def survey(self) -> None:
        """Look at what lies on the machine, and reopen or drop what differs from the rows. For start-up, once."""
        if not self.drives:
            return
        guests.register(self.cloud.database, self.compute)
        disks.survey(self.cloud.database, self.volumes)
        survey_guests(self.cloud.database, self.compute)
        self.sweeper.begin()
        self.cloud.database.nudge("objects")

    @property
    def works(self) -> list[Reconciler]:
        """Everything that works in the background, to be started by the engine, wherever that is."""
        apart = [work for work in (self.weaver, self.tender) if work is not self.reconciler]
        perhaps = [work for work in (self.copier, self.courier) if work is not None]
        return [self.reconciler, *apart, self.gauger, self.keeper, self.porter, *perhaps]

    def start(self) -> None:
        """Begin to work in the background."""
        for work in self.works:
            work.start()

    def stop(self) -> None:
        """End that, after the steps that run."""
        for work in self.works:
            work.stop()

    def close(self) -> None:
        """Give everything back."""
        self.cloud.hosts["objects"].close()
        self.cloud.hosts["objects"].contents.driver.close()
        self.cloud.database.close()
