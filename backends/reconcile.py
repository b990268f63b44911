"""The reconciler: woken by a nudge and by the clock, it takes no input and re-reads everything.

Converging steps are idempotent functions; whatever they find half-done they finish or undo. One process runs them
(`nephele serve` starts one reconciler however many workers there are); changes made by other processes are noticed
through the stamps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from backends.db import Database

log = logging.getLogger("nephele.reconcile")

MOST_GATHERED = 0.25
"""Seconds that a wish waits at most for others."""
ALONE = 0.002
"""Seconds that a wish waits which comes after a quiet time: as long as its caller needs to be answered."""

Converge = Callable[[], bool]
"""Close some of the difference between what is wanted and what is. True: something is left for a later round."""


class Reconciler:
    """Runs the converging steps of every topic on a thread of its own."""

    def __init__(self, database: Database, *, period: float = 10.0, glance: float = 0.1, gather: float = 0.02) -> None:
        """`period`: seconds between rounds that nobody asked for; `glance`: seconds between looks at the stamps;
        `gather`: seconds after a round for which wishes gather, so that the next one carries out many; under load nine
        times as long as the rounds before took (up to `MOST_GATHERED`), which leaves the callers nine tenths of the
        processor. What comes later is carried out at once (`ALONE`)."""
        self._database, self._period, self._glance, self._gather = database, period, glance, gather
        self._steps: dict[str, list[Converge]] = {}
        self._due: dict[str, float] = {}
        self._nudged: set[str] = set()
        self._failures: dict[str, int] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def topics(self) -> list[str]:
        """The topics that have steps."""
        return list(self._steps)

    def add(self, topic: str, step: Converge) -> None:
        """Run `step` whenever rows of `topic` changed, whenever somebody nudges it, and every period."""
        if topic not in self._steps:
            self._database.on_nudge(topic, partial(self._hear, topic))
        self._steps.setdefault(topic, []).append(step)
        self._due[topic] = 0.0

    def _hear(self, topic: str) -> None:
        """Somebody knows that there is something to do, whether rows of the topic changed or not."""
        self._nudged.add(topic)
        self._wake.set()

    def start(self) -> None:
        """Begin on a thread."""
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the running step."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def settle(self, rounds: int = 100) -> None:
        """Run every step, here and now, until nothing is left. For tests and for start-up; errors are raised."""
        for _ in range(rounds):
            if not any([step() for steps in self._steps.values() for step in steps]):
                return
        raise RuntimeError(f"something never settles in {rounds} rounds")

    def _run(self) -> None:
        seen: dict[str, int] = {}
        spent, ended = 0.0, -MOST_GATHERED
        while not self._stopping:
            if self._wake.wait(self._glance) and not self._stopping:
                gathered = ended + min(max(self._gather, 9 * spent), MOST_GATHERED)
                time.sleep(max(gathered - time.monotonic(), ALONE))
            self._wake.clear()
            now = time.monotonic()
            stamps = self._database.stamps.read()
            for topic in self._steps:
                stamp, nudged = stamps.get(topic, 0), topic in self._nudged
                if nudged:  # or a nudge that comes just now would be forgotten
                    self._nudged.discard(topic)
                if nudged or stamp != seen.get(topic) or now >= self._due[topic]:
                    seen[topic] = stamp
                    self._round(topic)
                    ended = time.monotonic()
            spent = (spent + time.monotonic() - now) / 2

    def _round(self, topic: str) -> None:
        """One round of a topic. A step that raises is told and tried again, ever later, up to the period."""
        wait = self._period
        for step in self._steps[topic]:
            if self._stopping:
                return
            try:
                if step():
                    wait = min(wait, self._glance)
                self._failures[topic] = 0
            except Exception:  # an edge: one topic's trouble must not stop the others
                failures = self._failures[topic] = self._failures.get(topic, 0) + 1
                wait = min(self._period, self._glance * 2**failures)
                log.exception("converging %s failed (%d in a row); next try in %.1f s", topic, failures, wait)
        self._due[topic] = time.monotonic() + wait
