"""The agents inside guests: whether they answer, and file systems that they hold still for a moment.

A mark on the disk says whose file systems may be frozen. It lies there before they are, and goes when they are not any
more: whatever happens between, the next look at the guest thaws them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from backends.compute.drivers.libvirt_domain import AGENT

ANSWER = 2
"""Seconds within which an agent has to answer."""
STILL = 10
"""Seconds within which it has to have frozen, or thawed, its file systems."""
QUEUED = 30.0
"""Seconds that libvirt waits before it notes that an agent came or went, and then does not (its QEMU_JOB_WAIT_TIME).
While a copy is made it lets begin what modifies a guest; noting an agent it calls "modify migration safe", which it
forgot to let begin, too. It notes one thing after another, so the end of the copy is noted behind that: a short copy
during which an agent comes takes half a minute, or a whole one if it goes again. Nothing is lost by waiting; a daemon
that is started anew would note it at once, and cut off whoever sits at a console."""

_log = logging.getLogger(__name__)


def agent_answers(domain: Any) -> bool:
    """Whether the agent in the guest is there, and answers within two seconds."""
    import libvirt
    import libvirt_qemu

    if domain is None or not domain.isActive():
        return False
    channel = _channel(domain)
    if channel is None or not _connected(channel):
        return False
    with contextlib.suppress(libvirt.libvirtError):
        answer = libvirt_qemu.qemuAgentCommand(domain, '{"execute":"guest-ping"}', ANSWER, 0)
        return "return" in json.loads(answer)
    return False


def agent_missed(domain: Any) -> bool:
    """Whether an agent has opened its end of the channel, as QEMU knows, and libvirt has not heard of it."""
    import libvirt_qemu

    channel = _channel(domain)
    if channel is None or _connected(channel) or (name := channel.find("alias")) is None:
        return False
    told = json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute":"query-chardev"}', 0))
    return any(one["label"] == f"char{name.get('name')}" and one["frontend-open"] for one in told["return"])


def _channel(domain: Any) -> Element | None:
    """The channel between the agent and libvirt."""
    root = ElementTree.fromstring(domain.XMLDesc())
    return root.find(f"devices/channel/target[@name='{AGENT}']/..")


def _connected(channel: Element) -> bool:
    """Whether libvirt knows that somebody is at the other end."""
    target = channel.find("target")
    return target is not None and target.get("state") == "connected"


class Agents:
    """Speaks with the agents of one machine's guests; marks are files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def _mark(self, domain: Any) -> Path:
        return self._folder / f"{domain.name()}.frozen"

    def answers(self, domain: Any) -> bool:
        """Whether the agent answers. What a copy that was cut off left frozen is thawed."""
        if not agent_answers(domain):
            return False
        with self._lock:
            left = domain.name() not in self._busy and self._mark(domain).exists()
        if left:
            _log.warning("%s was left with frozen file systems: they are thawed", domain.name())
            self._thaw(domain)
        return True

    @contextlib.contextmanager
    def frozen(self, domain: Any) -> Iterator[None]:
        """Hold the guest's file systems still for the block, where an agent answers. One that does not freeze them in
        time is told to thaw them all the same: it may freeze them late."""
        import libvirt

        if not agent_answers(domain):
            yield
            return
        name = domain.name()
        with self._lock:
            self._busy.add(name)
        try:
            self._mark(domain).touch()
            domain.agentSetResponseTimeout(STILL, 0)
            try:
                domain.fsFreeze()
            except libvirt.libvirtError as error:
                _log.warning("%s does not freeze its file systems: %s", name, error)
            yield
        finally:
            self._thaw(domain)
            with self._lock:
                self._busy.discard(name)

    def _thaw(self, domain: Any) -> None:
        import libvirt

        try:
            domain.fsThaw()
        except libvirt.libvirtError as error:
            _log.warning("%s does not thaw its file systems; it is asked again: %s", domain.name(), error)
        else:
            self._mark(domain).unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """The domain of that name is gone."""
        (self._folder / f"{name}.frozen").unlink(missing_ok=True)
