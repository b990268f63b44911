"""Changes that come at the same time are committed at the same time.

A durable commit waits for the disk. Under load, calls that change state therefore gather while the commit before them
is on its way, run one after the other on the event loop's thread, each under a savepoint of its own, and become
durable together; only then is each of them answered. One caller alone waits for one commit, as ever.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from compat.dispatch import Admitted, Answer, Dispatcher

MOST = 64
"""Calls in one commit."""

Waiting = tuple[Admitted, "asyncio.Future[Answer]"]
Outcome = tuple["asyncio.Future[Answer]", Answer | Exception]


class Batcher:
    """Performs admitted calls that change a local database. For the event loop's thread only."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._waiting: list[Waiting] = []
        self._running: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Let a running commit end."""
        self._committer.shutdown(wait=True)

    async def perform(self, admitted: Admitted) -> Answer:
        """The call's answer, once what it changed is durable. Raises what `Dispatcher.perform` raises."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((admitted, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                calls, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                outcomes: list[Outcome] = []
                try:
                    with self._dispatcher.cloud.database.joined() as batch:
                        for admitted, future in calls:
                            outcomes.append((future, self._one(admitted)))
                    # From here on the batch must be committed: that gives the turn back, too.
                    await loop.run_in_executor(self._committer, batch.commit)
                    batch.settle()
                except Exception as fault:  # noqa: BLE001 - told to everyone whose change is not durable
                    translate = self._dispatcher.translate
                    outcomes = [(future, translate(admitted.operation, fault)) for admitted, future in calls]
                for future, outcome in outcomes:
                    if future.done():  # its caller is gone
                        continue
                    if isinstance(outcome, Exception):
                        future.set_exception(outcome)
                    else:
                        future.set_result(outcome)
        finally:
            self._running = None

    def _one(self, admitted: Admitted) -> Answer | Exception:
        try:
            return self._dispatcher.perform(admitted)
        except Exception as fault:  # noqa: BLE001 - raised to the caller after the batch
            return fault
