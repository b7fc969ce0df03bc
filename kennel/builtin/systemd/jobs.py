"""Waiting for systemd's jobs without missing one."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

KEPT = 1024
"""Finished jobs remembered, at most."""


class Jobs:
    """What became of jobs.

    A job may be over before the call that made it has been answered; so all results are kept for
    a while, and asked for afterwards.
    """

    def __init__(self) -> None:
        self._finished: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, set[asyncio.Future[str | None]]] = {}

    def removed(self, job: str, result: str) -> None:
        """Take note of a `JobRemoved`: an object path and how it ended, such as "done"."""
        self._finished[job] = result
        while len(self._finished) > KEPT:
            self._finished.popitem(last=False)
        _tell(self._waiting.get(job, ()), result)

    def lost(self) -> None:
        """Tell everybody who waits that signals were missed."""
        for waiters in self._waiting.values():
            _tell(waiters, None)

    async def result(self, job: str, *, within: float) -> str | None:
        """Return how a job ended; None if that cannot be told: look at the unit itself.

        Several may wait for one job: systemd merges two of the same kind for the same unit.
        """
        if job in self._finished:
            return self._finished[job]
        waiter: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job, set()).add(waiter)
        try:
            async with asyncio.timeout(within):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._waiting[job].discard(waiter)
            if not self._waiting[job]:
                del self._waiting[job]


def _tell(waiters: Iterable[asyncio.Future[str | None]], result: str | None) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(result)
