"""What guests used between two looks, and which metrics are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from backends.compute.drivers.base import Capabilities, DiskCounters, GuestCounters
from backends.compute.drivers.simulated import SimulatedGuests
from backends.compute.host import ComputeHost
from backends.compute.models import Health
from backends.compute.usage import Meter, Traffic
from backends.db import Database
from backends.errors import Unavailable
from backends.metrics.service import MetricService, seconds
from backends.network.book import NetworkHost
from backends.network.drivers.base import Counters
from backends.network.drivers.simulated import SimulatedNetwork
from backends.network.models import Network, Port, Segment
from compat.cloudwatch.gauge import Gauge
from tests.unit.test_guest_lifecycle import HERE, Clock, act, clock, database, guest, host, launch, settle

__all__ = ["clock", "database", "host"]


class Counting(SimulatedGuests):
    """Guests that use what a test says."""

    capabilities = Capabilities(runs=True, plugs_disks=True, counts=True)

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[str, GuestCounters] = {}
        self.asked = 0
        self.away = False

    def counters(self, guest: str) -> GuestCounters:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return self.used.get(guest, GuestCounters())


class Carrying(SimulatedNetwork):
    """A network whose ports carry what a test says."""

    applies = True

    def __init__(self) -> None:
        super().__init__()
        self.carried: dict[str, Counters] = {}

    def counters(self, network_id: str, port_id: str) -> Counters:
        return self.carried.get(port_id, Counters())


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def counted(host: ComputeHost, counting: Counting) -> ComputeHost:
    return replace(host, driver=counting)


def use(counting: Counting, processor: float, *, id: str = "i-1", **disks: tuple[int, int, int, int]) -> None:
    counting.used[id] = GuestCounters(
        processor, 0, {name.replace("_", "-"): DiskCounters(*one) for name, one in disks.items()}
    )


@pytest.fixture
def meter(database: Database, counted: ComputeHost) -> Meter:
    return Meter(database, counted)


def test_a_guest_that_started_since_the_last_look_began_with_nothing(
    database: Database, counted: ComputeHost, counting: Counting, meter: Meter, clock: Clock
) -> None:
    assert meter.look() == []
    launch(database)
    settle(database, counted)
    use(counting, 12.0, vol_root=(1, 2, 3, 4))
    clock.now += timedelta(minutes=1)
    [usage] = meter.look()
    assert usage.processor == 12
    assert usage.disks == {"vol-root": DiskCounters(1, 2, 3, 4)}
    assert 60 <= usage.span < 61
    use(counting, 15.0, vol_root=(10, 20, 30, 40), vol_data=(5, 5, 5, 5))
    clock.now += timedelta(minutes=1)
    [usage] = meter.look()
    assert usage.processor == 3
    assert usage.disks == {"vol-root": DiskCounters(9, 18, 27, 36), "vol-data": DiskCounters(5, 5, 5, 5)}


def test_of_a_guest_that_ran_before_nothing_is_told_at_the_first_look(
    database: Database, counted: ComputeHost, counting: Counting, meter: Meter
) -> None:
    launch(database)
    settle(database, counted)
    use(counting, 1000.0)
    [usage] = meter.look()
    assert (usage.processor, usage.disks, usage.traffic) == (None, {}, None)
    use(counting, 1001.0)
    [usage] = meter.look()
    assert usage.processor == 1


def test_counters_that_fell_began_anew(
    database: Database, counted: ComputeHost, counting: Counting, meter: Meter
) -> None:
    launch(database)
    settle(database, counted)
    use(counting, 50.0, vol_root=(9, 9, 9, 9))
    meter.look()
    use(counting, 2.0, vol_root=(3, 3, 3, 3))
    [usage] = meter.look()
    assert (usage.processor, usage.disks["vol-root"]) == (2, DiskCounters(3, 3, 3, 3))


def test_what_cannot_be_asked_is_told_with_the_next_look(
    database: Database, counted: ComputeHost, counting: Counting, meter: Meter, clock: Clock
) -> None:
    launch(database)
    settle(database, counted)
    meter.look()
    clock.now += timedelta(minutes=1)
    counting.away = True
    [usage] = meter.look()
    assert usage.processor is None
    clock.now += timedelta(minutes=1)
    counting.away = False
    use(counting, 3.0)
    [usage] = meter.look()
    assert usage.processor == 3
    assert usage.span >= 120


def test_guests_that_do_not_run_are_not_asked(
    database: Database, counted: ComputeHost, counting: Counting, meter: Meter
) -> None:
    launch(database)
    settle(database, counted)
    act(database, "stop")
    settle(database, counted)
    assert meter.look() == []
    assert counting.asked == 0


def test_traffic_is_that_of_all_ports(database: Database, counted: ComputeHost, counting: Counting) -> None:
    network = Carrying()
    living = replace(counted, network=NetworkHost(driver=network))
    launch(database)
    settle(database, counted)
    with database.unit(HERE, write=True) as unit:
        unit.session.add(Network(id="vpc", cidr="10.0.0.0/16", created=unit.now))
        of = {"network_id": "vpc", "zone": "a", "zone_id": "a"}
        unit.session.add(Segment(id="subnet", cidr="10.0.0.0/24", free=250, created=unit.now, **of))
        for name in ("eni-1", "eni-2"):
            unit.session.add(Port(id=name, guest_id="i-1", segment_id="subnet", mac="m", created=unit.now, **of))
    meter = Meter(database, living)
    meter.look()
    network.carried = {"eni-1": Counters(1, 2, 3, 4), "eni-2": Counters(10, 20, 30, 40)}
    [usage] = meter.look()
    assert usage.traffic == Traffic(11, 22, 33, 44)


# --- what is made of it -----------------------------------------------------------------------------------------------


def kept(database: Database, space: str, name: str, value: str) -> Mapping[str, list[tuple[int, float]]]:
    """By the names of metrics: minutes and sums."""
    found: dict[str, list[tuple[int, float]]] = {}
    with database.unit(HERE, write=False) as unit:
        service = MetricService(unit)
        subject = service.subject(space, [(name, value)] if name else [])
        if subject is None:
            return {}
        for place, (series, _) in enumerate(subject.series):
            read = service.read(subject, [place], 0, 1 << 40, 60)
            found[series] = [(one.at, one.sample.total) for one in read]
    return found


def pass_minutes(clock: Clock, gauge: Gauge, minutes: int, between: Callable[[], None]) -> None:
    for _ in range(minutes):
        clock.now = clock.now.replace(second=1) + timedelta(minutes=1)
        between()
        gauge.step()


@pytest.mark.parametrize("detailed", [False, True])
def test_metrics_of_an_instance_and_its_volume(
    database: Database, counted: ComputeHost, counting: Counting, clock: Clock, detailed: bool
) -> None:
    launch(database)
    settle(database, counted)
    with database.unit(HERE, write=True) as unit:
        unit.session.merge(guest(database)).monitored = detailed
        unit.session.add(Health(guest="i-1", boot=1, leased=None, agent=False, trouble="", since=unit.now))
    gauge = Gauge(database, Meter(database, counted), counted)
    gauge.step()
    used = iter(range(1, 100))

    def work() -> None:
        number = next(used)
        use(counting, 12.0 * number, vol_root=(100 * number, 10 * number, 2 * number, number))

    began = seconds(clock.now)
    pass_minutes(clock, gauge, 10, work)
    told = kept(database, "AWS/EC2", "InstanceId", "i-1")
    minutes = [began - began % 60 + 60 * number for number in range(10)]
    fives = [minute - minute % 300 for minute in minutes]
    assert [at for at, _ in told["CPUUtilization"]] == (minutes if detailed else fives)
    # Two processors, for 60 seconds: 12 processor seconds are a tenth.
    assert [round(share, 1) for _, share in told["CPUUtilization"]][1:] == [10.0] * 9
    assert told["EBSReadBytes"] == [(at, 100) for at in (minutes if detailed else fives)]
    assert told["StatusCheckFailed"] == [(at, 0) for at in minutes]
    volume = kept(database, "AWS/EBS", "VolumeId", "vol-root")
    assert set(volume) == {"VolumeReadBytes", "VolumeWriteBytes", "VolumeReadOps", "VolumeWriteOps"}
    assert volume["VolumeWriteOps"] == [(at, 1) for at in minutes]
    together = kept(database, "AWS/EC2", "InstanceType", "t3.micro")
    assert ("CPUUtilization" in together) == detailed
    assert ("NetworkIn" in told) is False, "nobody counts it here"


def test_a_broken_instance_fails_its_checks(database: Database, counted: ComputeHost, clock: Clock) -> None:
    launch(database)
    settle(database, counted)
    gauge = Gauge(database, Meter(database, counted), counted)
    gauge.step()
    pass_minutes(clock, gauge, 1, lambda: None)
    assert "StatusCheckFailed" not in kept(database, "AWS/EC2", "InstanceId", "i-1"), "nothing is known of it yet"
    with database.unit(HERE, write=True) as unit:
        unit.session.add(Health(guest="i-1", boot=1, leased=None, agent=False, trouble="no room", since=unit.now))
    pass_minutes(clock, gauge, 1, lambda: None)
    told = kept(database, "AWS/EC2", "InstanceId", "i-1")
    assert told["StatusCheckFailed"][0][1] == told["StatusCheckFailed_System"][0][1] == 1


def test_one_look_a_minute_writes_once_for_many_guests(
    database: Database, counted: ComputeHost, counting: Counting, clock: Clock
) -> None:
    for number in range(30):
        launch(database, f"i-{number}", disks=())
    settle(database, counted)
    gauge = Gauge(database, Meter(database, counted), counted)
    gauge.step()
    pass_minutes(clock, gauge, 1, lambda: None)
    counting.asked, before = 0, database.turn.ended
    gauge.step()
    assert (counting.asked, database.turn.ended) == (0, before), "the minute has not passed"
    pass_minutes(clock, gauge, 1, lambda: None)
    assert counting.asked == 30
    assert database.turn.ended - before == 1
