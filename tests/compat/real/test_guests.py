"""The contract of guest drivers, on every driver that there is: what one says that it can do, it has to do here.

The guests of real drivers are booted once and go through their whole life in the order of the tests.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from backends.compute.drivers import container_process, container_root
from backends.compute.drivers.base import Power
from backends.compute.drivers.libvirt_disks import QemuDisks
from backends.compute.drivers.libvirt_lxc import LxcGuests
from backends.compute.drivers.libvirt_qemu import QemuGuests
from backends.errors import Busy, DriverError, NativeError, Unsupported
from backends.volume.drivers.base import Limits
from tests.compat.real.guests import GUEST, PATIENCE, World, lets_go, new_world, patient, type_, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["simulated", "qemu", "lxc"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_world(request, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def lxc(world: World) -> LxcGuests:
    if not isinstance(world.driver, LxcGuests):
        pytest.skip("is about containers")
    return world.driver


@pytest.fixture
def qemu(world: World) -> QemuGuests:
    if not isinstance(world.driver, QemuGuests):
        pytest.skip("is about guests with a processor of their own")
    return world.driver


def test_nothing_is_there_in_the_beginning(world: World) -> None:
    assert dict(world.driver.observe()) == {}
    assert world.driver.ensure_stopped(GUEST, force=False)
    world.driver.drop(GUEST)
    world.driver.unplug(GUEST, "vol-nobody")


def test_a_guest_boots_from_its_disk(world: World) -> None:
    world.run(world.spec)
    assert world.power() == Power.ON
    world.says(b"nephele-micro: no network card; ready")
    world.run(world.spec)
    assert world.driver.console(GUEST).count(b"nephele-micro: no network card; ready") == (
        1 if world.driver.capabilities.console else 0
    )


def test_its_console_is_live(world: World) -> None:
    if not world.driver.capabilities.console:
        with pytest.raises(Unsupported):
            world.driver.open_console(GUEST)
        return
    console = world.driver.open_console(GUEST)
    assert b"=42=" in type_(console, "echo =$((40+2))=")
    console.close()
    console.close()
    assert console.read(0.1) is None


def test_its_maker_is_told(qemu: QemuGuests) -> None:
    console = qemu.open_console(GUEST)
    seen = type_(console, "cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_uuid")
    console.close()
    assert b"Amazon EC2" in seen
    assert b"ec2" in seen.lower().replace(b"amazon ec2", b"")


def test_its_screen_is_shown(world: World) -> None:
    if not world.driver.capabilities.screenshots:
        with pytest.raises(Unsupported):
            world.driver.screenshot(GUEST)
        return
    assert world.driver.screenshot(GUEST).startswith(b"\xff\xd8\xff")


def test_what_it_used_is_told(world: World) -> None:
    if not world.driver.capabilities.counts:
        with pytest.raises(Unsupported):
            world.driver.counters(GUEST)
        return
    used = world.driver.counters(GUEST)
    assert used.processor > 0
    if not isinstance(world.driver, QemuGuests):
        return
    assert used.disks[world.spec.disks[0].disk].bytes_read > 1 << 20


def test_a_disk_comes_and_is_known_by_its_serial(world: World) -> None:
    if not world.driver.capabilities.plugs_disks:
        with pytest.raises(Unsupported):
            world.driver.plug(GUEST, world.data)
        return
    world.driver.plug(GUEST, world.data)
    world.driver.plug(GUEST, world.data)
    world.spec = replace(world.spec, disks=(*world.spec.disks, world.data))
    if isinstance(world.driver, QemuGuests):
        console = world.driver.open_console(GUEST)
        want = world.data.access.serial.encode()
        until(lambda: want in type_(console, "cat /sys/class/block/vd*/serial"), "the guest never saw the disk")
        console.close()
    elif world.real:
        console = world.driver.open_console(GUEST)
        assert b"=67108864=" in type_(console, "echo =$(blockdev --getsize64 /dev/sdf)=")
        console.close()


def test_a_disk_grows_and_is_limited_while_it_is_open(qemu: QemuGuests, world: World) -> None:
    disks = QemuDisks(qemu)
    assert disks.holds(world.data.disk)
    assert not disks.holds("vol-nobody")
    disks.grow(world.data.disk, 2 << 30)
    disks.grow(world.data.disk, 2 << 30)
    disks.limit(world.data.disk, Limits(3000, 125))
    console = qemu.open_console(GUEST)
    until(lambda: b"\n4194304" in type_(console, "cat /sys/class/block/vdb/size"), "the guest never saw the growth")
    console.close()


def test_open_disks_are_copied_and_then_what_changed(qemu: QemuGuests, world: World) -> None:
    disks, data, root = QemuDisks(qemu), world.data.disk, world.spec.disks[0].disk
    console = qemu.open_console(GUEST)

    def write(text: str, at: int) -> None:
        type_(console, f"printf {text} | dd of=/dev/vdb bs=1M seek={at} conv=notrunc; sync")

    def empty(name: str, size: str, base: str = "") -> str:
        path = str(world.folder / name)
        backing = ["-b", base, "-F", "qcow2"] if base else []
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, path, size], check=True)
        return path

    def read(path: str, at: int, length: int) -> bytes:
        raw = path + ".raw"
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
        with open(raw, "rb") as file:
            file.seek(at << 20)
            return file.read(length)

    write("first", 1)
    one, roots = empty("one.qcow2", "2G"), empty("roots.qcow2", "1G")
    assert disks.back_up({data: one, root: roots}, "snap-1", {}) == {data: False, root: False}
    write("second", 2)
    two = empty("two.qcow2", "2G", one)
    assert disks.back_up({data: two}, "snap-2", {data: "snap-1"}) == {data: True}
    write("third", 3)
    three = empty("three.qcow2", "2G", two)
    assert disks.back_up({data: three}, "snap-3", {data: "snap-unknown"}) == {data: False}
    console.close()
    assert (read(one, 1, 5), read(one, 2, 6)) == (b"first", bytes(6))
    assert (read(two, 1, 5), read(two, 2, 6), read(two, 3, 5)) == (b"first", b"second", bytes(5))
    assert (read(three, 1, 5), read(three, 2, 6), read(three, 3, 5)) == (b"first", b"second", b"third")
    assert os.stat(two).st_blocks < os.stat(roots).st_blocks


def test_a_port_comes_into_its_network_and_goes(world: World) -> None:
    if not world.driver.capabilities.plugs_ports:
        with pytest.raises(Unsupported):
            world.driver.plug_port(GUEST, world.port)
        return
    world.driver.plug_port(GUEST, world.port)
    world.driver.plug_port(GUEST, world.port)
    assert world.adopted == (["eni-1"] if world.real else [])

    until(
        lambda: lets_go(lambda: world.driver.unplug_port(GUEST, world.port.port)),
        "the guest does not let go of its card",
    )
    world.driver.unplug_port(GUEST, world.port.port)


def test_a_disk_goes(world: World) -> None:
    if not world.driver.capabilities.plugs_disks:
        with pytest.raises(Unsupported):
            world.driver.unplug(GUEST, world.data.disk)
        return

    until(lambda: lets_go(lambda: world.driver.unplug(GUEST, world.data.disk)), "the guest does not let go of its disk")
    world.spec = replace(world.spec, disks=world.spec.disks[:1])
    world.run(world.spec)
    if isinstance(world.driver, QemuGuests):
        assert not QemuDisks(world.driver).holds(world.data.disk)


def test_a_guest_sleeps_and_goes_on_where_it_was(world: World) -> None:
    if not world.driver.capabilities.hibernates:
        with pytest.raises(Unsupported):
            world.driver.ensure_asleep(GUEST)
        return
    if isinstance(world.driver, QemuGuests):
        console = world.driver.open_console(GUEST)
        type_(console, "echo kept > /run/mark")
        console.close()
    until(lambda: world.driver.ensure_asleep(GUEST), "the guest does not fall asleep")
    assert world.power() == Power.ASLEEP
    world.run(replace(world.spec, boot=world.spec.boot + 1))
    assert world.power() == Power.ON
    if isinstance(world.driver, QemuGuests):
        console = world.driver.open_console(GUEST)
        assert b"\nkept" in type_(console, "cat /run/mark")
        console.close()


def test_a_guest_starts_anew(world: World) -> None:
    before = world.said()
    world.run(replace(world.spec, boot=world.spec.boot + 1))
    world.says(b"; ready", before)
    assert world.power() == Power.ON


def test_a_killed_daemon_is_started_again_and_finds_its_guest(world: World) -> None:
    if world.daemon is None:
        pytest.skip("nothing stands behind simulated guests")
    pid = world.daemon.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        try:
            return world.power() == Power.ON
        except NativeError:
            return False

    until(back, "the daemon does not come back")
    assert world.daemon.pid() != pid


def killed(world: World, *reasons: str) -> None:
    """The guest was killed: that is seen and told, and it starts again."""
    until(lambda: patient(lambda: world.power() == Power.CRASHED), "the crash is not seen")
    assert any(reason in world.driver.observe()[GUEST].reason for reason in reasons or ("killed", "process"))
    before = world.said()
    world.run(replace(world.spec, boot=world.spec.boot + 1))
    world.says(b"; ready", before)
    assert world.power() == Power.ON


def test_a_guest_that_is_killed_is_seen_and_starts_again(world: World) -> None:
    notices: list[None] = []
    if not world.real:
        pytest.skip("nothing stands behind simulated guests")
    world.driver.watch(lambda: notices.append(None))
    os.kill(world.process(), signal.SIGKILL)
    until(lambda: notices, "nobody was told")
    killed(world)


def test_a_guest_that_is_killed_while_the_daemon_is_away_is_seen(qemu: QemuGuests, world: World) -> None:
    """libvirt tells nobody of one that ends before it is back: who looks only when told sees it all the same."""
    assert world.power() == Power.ON and world.daemon is not None and (daemon := world.daemon.pid()) is not None
    process, told = world.process(), threading.Event()
    qemu.watch(told.set)
    os.kill(daemon, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    until(lambda: patient(lambda: world.power() is not None), "the daemon does not come back")
    while (power := world.power()) != Power.CRASHED:
        assert told.wait(PATIENCE), f"nobody was told that it is no longer {power}"
        told.clear()
    killed(world)


def test_a_guest_whose_system_breaks_down_is_seen_and_starts_again(qemu: QemuGuests, world: World) -> None:
    console = qemu.open_console(GUEST)
    console.write(b"echo c > /proc/sysrq-trigger\n")
    killed(world, "the guest's system broke down")


def test_a_guest_that_shuts_itself_down_is_seen(world: World) -> None:
    if not world.real:
        pytest.skip("nothing stands behind simulated guests")
    console = world.driver.open_console(GUEST)
    console.write(b"poweroff -f\n")
    until(lambda: world.power() == Power.HALTED, "the shutdown is not seen")
    console.close()
    before = world.said()
    world.run(replace(world.spec, boot=world.spec.boot + 1))
    world.says(b"; ready", before)


def test_a_container_that_lost_daemon_and_controller_is_ended_and_starts_again(lxc: LxcGuests, world: World) -> None:
    controller = world.process()
    first = container_process.first_of(controller)
    assert first is not None and world.daemon is not None and (daemon := world.daemon.pid()) is not None
    os.kill(daemon, signal.SIGKILL)
    os.kill(controller, signal.SIGKILL)
    killed(world)
    assert container_process.began(first) == ""
    assert len(container_root.loops(world.spec.disks[0].access.path)) == 1


def test_a_container_goes_on_while_nobody_reads_its_console(lxc: LxcGuests, world: World) -> None:
    """A keeper that was killed is replaced, and what was said meanwhile is kept."""
    console = lxc.open_console(GUEST)
    type_(console, "(sleep 0.5; for n in 1 2 3 4 5 6; do echo a line that nobody reads; done; echo s''aid) & true")
    console.close()
    for pid in world.keepers():
        os.kill(pid, signal.SIGKILL)
    until(lambda: lxc.observe()[GUEST].power == Power.ON and b"\nsaid" in lxc.console(GUEST), "it was never heard")
    assert len(world.keepers()) == 1


def test_a_container_that_starts_itself_anew_is_let_go_again(lxc: LxcGuests, world: World) -> None:
    before, controller = world.said(), world.process()
    console = lxc.open_console(GUEST)
    console.write(b"reboot -f\n")
    until(lambda: lxc.observe()[GUEST].power == Power.HELD and world.process() != controller, "it never waits")
    console.close()
    world.run(world.spec)
    world.says(b"; ready", before)
    assert world.power() == Power.ON


def test_a_mounted_disk_does_not_go(lxc: LxcGuests, world: World) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-F", world.data.access.path], check=True)
    lxc.plug(GUEST, world.data)
    console = lxc.open_console(GUEST)
    type_(console, "mount -t ext4 /dev/sdf /mnt && echo kept > /mnt/mark")
    with pytest.raises(Busy):
        lxc.unplug(GUEST, world.data.disk)
    assert b"\nkept" in type_(console, "cat /mnt/mark; umount /mnt")
    console.close()
    lxc.unplug(GUEST, world.data.disk)
    assert container_root.loops(world.data.access.path) == []


def test_a_guest_shuts_down_when_it_is_asked_to(world: World) -> None:
    until(lambda: world.driver.ensure_stopped(GUEST, force=False), "the guest does not stop")
    assert world.power() in (Power.OFF, Power.HALTED)
    world.driver.unplug(GUEST, world.spec.disks[0].disk)
    assert world.driver.ensure_stopped(GUEST, force=True)
    with pytest.raises(DriverError):
        world.driver.plug(GUEST, world.data)


def test_nothing_is_left_in_the_end(world: World) -> None:
    world.driver.drop(GUEST)
    world.driver.drop(GUEST)
    assert container_root.loops(world.spec.disks[0].access.path) == []
    until(lambda: not world.keepers(), "somebody keeps a console that is no more")
    assert dict(world.driver.observe()) == {}
    assert world.driver.console(GUEST) == b""
