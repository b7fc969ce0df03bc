"""Waiting for systemd's jobs without missing one."""

import asyncio
from collections import OrderedDict

KEPT = 1024
"""Finished jobs that nobody has asked about yet, at most."""


class Jobs:
    """What became of jobs.

    A job may be over before the call that made it has been answered; so all results are kept for
    a while, and asked for afterwards.
    """

    def __init__(self) -> None:
        self._finished: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[str | None]] = {}

    def removed(self, job: str, result: str) -> None:
        """Take note of a `JobRemoved`: an object path and how it ended, such as "done"."""
        if waiter := self._waiting.get(job):
            if not waiter.done():
                waiter.set_result(result)
            return
        self._finished[job] = result
        while len(self._finished) > KEPT:
            self._finished.popitem(last=False)

    def lost(self) -> None:
        """Tell everybody who waits that signals were missed."""
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_result(None)

    async def result(self, job: str, *, within: float) -> str | None:
        """Return how a job ended; None if that cannot be told: look at the unit itself."""
        if job in self._finished:
            return self._finished.pop(job)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[job] = waiter
        try:
            async with asyncio.timeout(within):
                result: str | None = await waiter
                return result
        except TimeoutError:
            return None
        finally:
            del self._waiting[job]
