"""The clock that tests may move on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from backends.clock import Clock, wall


def test_it_is_the_machines_until_it_is_moved(tmp_path: Path) -> None:
    for clock in (Clock(), Clock(tmp_path / "clock")):
        assert wall() <= clock() <= wall()
        clock.advance(86400.5)
        assert clock.ahead == 86400.5
        before, moved, after = wall(), clock(), wall()
        assert before <= moved - timedelta(seconds=86400.5) <= after
        clock.reset()
        assert wall() <= clock() <= wall()


def test_a_move_holds_for_all_who_share_the_file(tmp_path: Path) -> None:
    one, other = Clock(tmp_path / "clock"), Clock(tmp_path / "clock")
    one.advance(10)
    other.advance(5)
    assert one.ahead == other.ahead == Clock(tmp_path / "clock").ahead == 15


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e12])
def test_what_is_no_move_is_refused(seconds: float) -> None:
    clock = Clock()
    with pytest.raises(ValueError):
        clock.advance(seconds)
    assert clock.ahead == 0
