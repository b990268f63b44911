"""Statistics over samples: periods, and what is said of each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backends.metrics.samples import Sample, merged, percentile
from backends.metrics.service import Found, seconds
from compat.errors import AWSError

SHORT = (1, 5, 10, 20, 30)
"""Periods below a minute."""
BASIC = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100(?:\.0{1,10})?)")
_FURTHER = re.compile(r"(?:tm|wm|tc|ts|pr|TM|WM|TC|TS|PR)[\d(].*|iqm|IQM")
"""Statistics that AWS has beside these."""
HIGH = timedelta(hours=3)
FINE, MIDDLE = timedelta(days=15), timedelta(days=63)


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a call asks about, in seconds since 1970: [begin, end), in steps of `period` seconds."""

    begin: int
    end: int
    period: int

    @property
    def steps(self) -> int:
        """How many steps that are."""
        return -(-(self.end - self.begin) // self.period)


def is_period(period: int) -> bool:
    """Whether AWS knows periods of so many seconds."""
    return period in SHORT or period % 60 == 0


def window(now: datetime, start: datetime, end: datetime, period: int) -> Window:
    """The window of a call: the older its start, the coarser it is rounded, downwards."""
    age = now - start
    grain = 60 if age < FINE else 300 if age < MIDDLE else 3600
    if period < 60 and age <= HIGH:
        grain = period
    begin = seconds(start)
    return Window(begin - begin % grain, seconds(end + timedelta(microseconds=999999)), period)


def by_step(found: Iterable[Found], window: Window) -> dict[int, list[Sample]]:
    """Samples by the beginning of the step of the window that they lie in."""
    steps: dict[int, list[Sample]] = defaultdict(list)
    for one in found:
        steps[window.begin + (one.at - window.begin) // window.period * window.period].append(one.sample)
    return steps


def check_statistic(name: str, code: str, where: str) -> None:
    """Refuse what is no statistic with `code`, and by name what is one that is not offered."""
    if name in BASIC or _PERCENTILE.fullmatch(name):
        return
    if _FURTHER.fullmatch(name):
        raise AWSError("NotImplemented", f"The statistic {name} is not implemented by Nephele.")
    raise AWSError(code, f"The value {name} for parameter {where} is not supported.")


def statistic(name: str, samples: Sequence[Sample]) -> float | None:
    """One statistic over samples; None where it cannot be told."""
    if name not in BASIC:
        return percentile(samples, float(name[1:]))
    whole = merged(samples, 0)
    if name == "Average":
        return whole.total / whole.count if whole.count else None
    return {
        "SampleCount": whole.count,
        "Sum": whole.total,
        "Minimum": whole.least,
        "Maximum": whole.most,
    }[name]
