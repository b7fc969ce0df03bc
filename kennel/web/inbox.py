"""Many deliveries, one commit."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from kennel.domain.delivery import NewDelivery

Commit: TypeAlias = Callable[[list[NewDelivery]], Awaitable[Sequence[int]]]
Waiting: TypeAlias = tuple[NewDelivery, asyncio.Future[int]]
logger = logging.getLogger(__name__)
LARGEST = 256
"""Deliveries in one commit: what comes in while a disk is slow should not make it slower."""
ENOUGH = 3
"""Deliveries that fail one after the other before nothing is tried any more."""


class GroupCommit:
    """Keeps deliveries with as few commits as possible, and no delay.

    A commit waits for the disk, and takes the same time for one row or for a hundred. So there
    is one at a time, and whatever comes in meanwhile goes into the next. One delivery alone is
    committed at once.
    """

    def __init__(self, commit: Commit) -> None:
        """Prepare. `commit` keeps a batch, all of it, durably, or (if it raises) none of it.

        It returns the numbers of the deliveries in the same order.
        """
        self._commit = commit
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def put(self, delivery: NewDelivery) -> int:
        """Return the delivery's number once it is kept. Raises what `commit` raised.

        Who gives up waiting does not take the delivery back.
        """
        kept: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, kept))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="inbox")
            self._writer.add_done_callback(self._ended)
        return await kept

    async def close(self) -> None:
        """Wait until nothing is waiting."""
        if self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
            await self._keep(batch)

    def _ended(self, writer: asyncio.Task[None]) -> None:
        """Let nobody wait for a writer that was cut off."""
        if writer.cancelled():
            for _, kept in self._waiting:
                kept.cancel()
            self._waiting = []

    async def _keep(self, batch: list[Waiting]) -> None:
        """Commit a batch. If that fails, one by one: a bad one must not take others with it."""
        try:
            numbers = await self._commit([delivery for delivery, _ in batch])
            results = list(zip(batch, numbers, strict=True))
        except Exception as error:
            logger.warning("a batch of %d deliveries was not kept: %r", len(batch), error)
            if len(batch) == 1:
                _fail(batch, error)
            else:
                await self._keep_one_by_one(batch, error)
        except BaseException:
            for _, kept in batch:
                kept.cancel()
            raise
        else:
            for (_, kept), number in results:
                if not kept.done():
                    kept.set_result(number)

    async def _keep_one_by_one(self, batch: list[Waiting], error: Exception) -> None:
        """Keep what can be kept. If the first few cannot, it is the store and not they."""
        for at, one in enumerate(batch):
            if at == ENOUGH and not any(_was_kept(kept) for _, kept in batch[:at]):
                _fail(batch[at:], error)
                return
            await self._keep([one])


def _was_kept(kept: asyncio.Future[int]) -> bool:
    return kept.done() and not kept.cancelled() and kept.exception() is None


def _fail(batch: list[Waiting], error: Exception) -> None:
    for _, kept in batch:
        if not kept.done():
            kept.set_exception(error)
