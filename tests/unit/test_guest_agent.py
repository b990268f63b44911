"""File systems that an agent holds still: they go on in the end, whatever happens between."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from backends.compute.drivers import libvirt_agent
from backends.compute.drivers.libvirt_agent import Agents

NAME = "cloud-i-1"


class Fault(Exception):
    """What libvirt raises."""


class Domain:
    """A guest whose agent does as a test says: `silent` are the verbs that it never answers."""

    def __init__(self, *silent: str) -> None:
        self.silent, self.asked = set(silent), list[str]()

    def name(self) -> str:
        return NAME

    def agentSetResponseTimeout(self, seconds: int, flags: int) -> None:  # libvirt's name
        assert 0 < seconds <= 10, "nobody waits for ever"

    def fsFreeze(self) -> None:
        self._do("freeze")

    def fsThaw(self) -> None:
        self._do("thaw")

    def _do(self, verb: str) -> None:
        self.asked.append(verb)
        if verb in self.silent:
            raise Fault(f"no answer to {verb}")


@pytest.fixture(autouse=True)
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", types.SimpleNamespace(libvirtError=Fault))
    monkeypatch.setattr(libvirt_agent, "agent_answers", lambda domain: "ping" not in domain.silent)


@pytest.fixture
def agents(tmp_path: Path) -> Agents:
    return Agents(tmp_path)


def marks(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_they_are_still_for_the_block_and_no_longer(agents: Agents, tmp_path: Path) -> None:
    domain = Domain()
    with agents.frozen(domain):
        domain.asked.append("copy")
        assert marks(tmp_path) == [f"{NAME}.frozen"]
    assert domain.asked == ["freeze", "copy", "thaw"]
    assert marks(tmp_path) == []


def test_a_guest_without_an_agent_is_left_alone(agents: Agents, tmp_path: Path) -> None:
    domain = Domain("ping")
    with agents.frozen(domain):
        pass
    assert (domain.asked, marks(tmp_path)) == ([], [])
    assert not agents.answers(domain)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_copy_that_fails_leaves_nothing_frozen(agents: Agents, tmp_path: Path, error: type[BaseException]) -> None:
    domain = Domain()
    with pytest.raises(error), agents.frozen(domain):
        raise error
    assert (domain.asked, marks(tmp_path)) == (["freeze", "thaw"], [])


def test_one_that_freezes_too_late_is_thawed_and_the_copy_is_made(agents: Agents, tmp_path: Path) -> None:
    domain = Domain("freeze")
    with agents.frozen(domain):
        domain.asked.append("copy")
    assert (domain.asked, marks(tmp_path)) == (["freeze", "copy", "thaw"], [])


def test_one_that_does_not_thaw_is_asked_again_until_it_has(agents: Agents, tmp_path: Path) -> None:
    domain = Domain("thaw")
    with agents.frozen(domain):
        pass
    assert agents.answers(domain)
    assert domain.asked == ["freeze", "thaw", "thaw"]
    domain.silent.clear()
    assert agents.answers(domain) and agents.answers(domain)
    assert domain.asked == ["freeze", "thaw", "thaw", "thaw"]
    assert marks(tmp_path) == []


def test_what_a_kill_left_frozen_is_thawed_by_the_next_process(agents: Agents, tmp_path: Path) -> None:
    domain: Any = Domain()
    cut_off = agents.frozen(domain)
    cut_off.__enter__()  # and the process is no more
    next_one = Agents(tmp_path)
    assert next_one.answers(domain)
    assert (domain.asked, marks(tmp_path)) == (["freeze", "thaw"], [])


def test_nobody_thaws_what_a_copy_needs_still(agents: Agents) -> None:
    domain = Domain()
    with agents.frozen(domain):
        assert agents.answers(domain)
        assert domain.asked == ["freeze"]


def test_marks_go_with_their_guest(agents: Agents, tmp_path: Path) -> None:
    with agents.frozen(Domain("thaw")):
        pass
    agents.forget(NAME)
    agents.forget(NAME)
    assert marks(tmp_path) == []


CHANNEL = """<domain><devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='{state}'/>
<alias name='channel0'/></channel></devices></domain>"""


@pytest.mark.parametrize(
    ("state", "opened", "missed"),
    [("disconnected", True, True), ("disconnected", False, False), ("connected", True, False)],
)
def test_an_agent_is_missed_that_only_qemu_has_heard_of(
    monkeypatch: pytest.MonkeyPatch, state: str, opened: bool, missed: bool
) -> None:
    told = {"return": [{"label": "charserial0", "frontend-open": True}]}
    told["return"].append({"label": "charchannel0", "frontend-open": opened})
    answer = types.SimpleNamespace(qemuMonitorCommand=lambda domain, command, flags: json.dumps(told))
    monkeypatch.setitem(sys.modules, "libvirt_qemu", answer)
    domain = types.SimpleNamespace(XMLDesc=lambda: CHANNEL.format(state=state))
    assert libvirt_agent.agent_missed(domain) is missed
