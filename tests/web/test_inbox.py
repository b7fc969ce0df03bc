"""Many deliveries, one commit."""

import asyncio
from collections.abc import Sequence

import pytest

from kennel.domain.delivery import NewDelivery
from kennel.web import GroupCommit


def delivery(number: int) -> NewDelivery:
    return NewDelivery(
        forge="forgejo",
        event="push",
        delivery_id=str(number),
        project="acme/shop",
        headers={},
        body=b"{}",
        received_at=0.0,
    )


class Disk:
    """Keeps batches, slowly. A delivery whose id is in `bad` cannot be kept."""

    def __init__(self, *bad: int, broken: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.tries = 0
        self._bad = frozenset(bad)
        self._broken = broken

    async def commit(self, batch: list[NewDelivery]) -> Sequence[int]:
        self.tries += 1
        await asyncio.sleep(0.005)
        ids = [int(one.delivery_id) for one in batch]
        if self._broken or self._bad & {*ids}:
            raise OSError("no space left on device")
        self.batches.append(ids)
        return [1000 + one for one in ids]


async def test_one_alone_is_committed_at_once() -> None:
    disk = Disk()
    assert await GroupCommit(disk.commit).put(delivery(7)) == 1007
    assert disk.batches == [[7]]


async def test_what_comes_in_meanwhile_shares_the_next_commit() -> None:
    disk = Disk()
    inbox = GroupCommit(disk.commit)
    numbers = await asyncio.gather(*(inbox.put(delivery(i)) for i in range(100)))
    assert numbers == [1000 + i for i in range(100)]
    assert [one for batch in disk.batches for one in batch] == [*range(100)]
    assert len(disk.batches) <= 2


async def test_a_batch_has_a_largest_size() -> None:
    disk = Disk()
    inbox = GroupCommit(disk.commit)
    await asyncio.gather(*(inbox.put(delivery(i)) for i in range(1000)))
    assert max(len(batch) for batch in disk.batches) == 256
    assert sum(len(batch) for batch in disk.batches) == 1000


async def test_a_bad_one_takes_no_other_with_it() -> None:
    disk = Disk(3)
    inbox = GroupCommit(disk.commit)
    puts = (inbox.put(delivery(i)) for i in range(8))
    numbers = await asyncio.gather(*puts, return_exceptions=True)
    assert isinstance(numbers[3], OSError)
    assert [n for i, n in enumerate(numbers) if i != 3] == [1000 + i for i in range(8) if i != 3]


async def test_a_broken_disk_is_not_asked_for_each_of_them() -> None:
    disk = Disk(broken=True)
    inbox = GroupCommit(disk.commit)
    puts = (inbox.put(delivery(i)) for i in range(100))
    assert {type(r) for r in await asyncio.gather(*puts, return_exceptions=True)} == {OSError}
    assert disk.tries < 10


async def test_goes_on_after_a_failure() -> None:
    disk = Disk(3)
    inbox = GroupCommit(disk.commit)
    with pytest.raises(OSError, match="no space"):
        await inbox.put(delivery(3))
    assert await inbox.put(delivery(4)) == 1004


async def test_who_gives_up_waiting_takes_nothing_back() -> None:
    disk = Disk()
    inbox = GroupCommit(disk.commit)
    puts = [asyncio.create_task(inbox.put(delivery(i))) for i in range(3)]
    await asyncio.sleep(0)
    puts[1].cancel()
    assert await asyncio.gather(*puts[::2]) == [1000, 1002]
    assert [one for batch in disk.batches for one in batch] == [0, 1, 2]


async def test_close_waits_for_what_is_under_way() -> None:
    disk = Disk()
    inbox = GroupCommit(disk.commit)
    await inbox.close()
    put = asyncio.create_task(inbox.put(delivery(1)))
    await asyncio.sleep(0)
    await inbox.close()
    assert disk.batches == [[1]]
    assert await put == 1001


async def test_nobody_waits_for_ever_when_it_is_cut_off() -> None:
    disk = Disk()
    inbox = GroupCommit(disk.commit)
    puts = [asyncio.create_task(inbox.put(delivery(i))) for i in range(3)]
    await asyncio.sleep(0)
    next(task for task in asyncio.all_tasks() if task.get_name() == "inbox").cancel()
    await asyncio.wait(puts, timeout=5)
    assert all(put.cancelled() for put in puts)
