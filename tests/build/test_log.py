"""The log of a build: capped, followed, and never holding a secret."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from kennel.build.follow import follow
from kennel.build.log import BuildLog, expire

MakeLog = Callable[..., BuildLog]


@pytest.fixture
def make_log(tmp_path: Path) -> Iterator[MakeLog]:
    """Give what opens the log 1.log."""
    with ExitStack() as opened:

        def make(*, most: int, secrets: Sequence[str] = ()) -> BuildLog:
            log = BuildLog(tmp_path / "1.log", most=most, secrets=secrets)
            opened.callback(log.close)
            return log

        yield make


async def is_over() -> bool:
    return True


async def read(path: Path) -> str:
    return "".join([text async for text in follow(path, is_over)])


async def test_a_short_log_is_kept_whole(tmp_path: Path, make_log: MakeLog) -> None:
    log = make_log(most=4096)
    await log.say("one", "two")
    await log.say("three")
    assert (tmp_path / "1.log").read_text() == "one\ntwo\nthree\n"
    assert await read(tmp_path / "1.log") == "one\ntwo\nthree\n"


async def test_a_long_log_keeps_its_head_and_its_tail(tmp_path: Path, make_log: MakeLog) -> None:
    log = make_log(most=8192)
    for number in range(10_000):
        log.write([f"line {number}"])
        assert (tmp_path / "1.log").stat().st_size <= 8192 + 100
    text = (tmp_path / "1.log").read_text()
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("line 9998\nline 9999\n")
    assert text.count("bytes left out ===") == 1
    left_out = int(text.partition("=== ")[2].split()[0])
    whole = sum(len(f"line {number}\n") for number in range(10_000))
    assert left_out + len(text) - len("\n=== 000000000000000 bytes left out ===\n") == whole


@pytest.mark.parametrize("seed", range(5))
async def test_a_follower_misses_nothing_and_sees_nothing_twice(
    tmp_path: Path, make_log: MakeLog, seed: int
) -> None:
    chance = random.Random(seed)
    log = make_log(most=4096)
    written = asyncio.Event()

    async def ended() -> bool:
        return written.is_set()

    async def write() -> None:
        for number in range(3000):
            await log.say(f"line {number}")
            if chance.random() < 0.01:
                await asyncio.sleep(0.01)
        written.set()

    writing = asyncio.create_task(write())
    seen = "".join([text async for text in follow(tmp_path / "1.log", ended)])
    await writing
    numbers = [int(x.split()[1]) for x in seen.splitlines() if x.startswith("line ")]
    whole = [number for number in numbers if number >= 100]  # a cut leaves half a number
    assert len(whole) == len({*whole})
    assert whole == sorted(whole)
    assert numbers[0] == 0
    assert numbers[-1] == 2999


async def test_a_follower_waits_for_a_log_that_is_not_there_yet(
    tmp_path: Path, make_log: MakeLog
) -> None:
    following = asyncio.create_task(read_until(tmp_path / "1.log", "two\n"))
    await asyncio.sleep(0.05)
    log = make_log(most=4096)
    await log.say("one")
    await asyncio.sleep(0.15)
    await log.say("two")
    assert await asyncio.wait_for(following, 5) == "one\ntwo\n"


async def read_until(path: Path, end: str) -> str:
    async def never() -> bool:
        return False

    seen = ""
    async for text in follow(path, never):
        seen += text
        if seen.endswith(end):
            break
    return seen


async def test_a_build_that_starts_again_has_a_log_of_its_own(
    tmp_path: Path, make_log: MakeLog
) -> None:
    first = make_log(most=4096)
    await first.say("interrupted")
    first.close()
    await first.say("too late")
    second = make_log(most=4096)
    await second.say("again")
    assert (tmp_path / "1.log").read_text() == "again\n"


async def test_secrets_are_hidden(tmp_path: Path, make_log: MakeLog) -> None:
    log = make_log(most=4096, secrets=["s3cret"])
    log.hide("other-one")
    log.hide("")
    await log.say("a s3cret and another: other-one", "nothing")
    assert (tmp_path / "1.log").read_text() == "a [hidden] and another: [hidden]\nnothing\n"
    assert log.clean("s3cret") == "[hidden]"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("50%\r100%\r", "100%"),
        ("bell\x07 null\x00", "bell null"),
        ("�", "�"),
        ("tab\there", "tab\there"),
        ("\udce9 surrogate", "? surrogate"),
    ],
)
async def test_words_to_a_terminal_are_left_out(
    tmp_path: Path, make_log: MakeLog, given: str, kept: str
) -> None:
    log = make_log(most=4096)
    await log.say(given)
    assert (tmp_path / "1.log").read_text() == f"{kept}\n"


async def test_a_very_long_line_loses_its_end(tmp_path: Path, make_log: MakeLog) -> None:
    log = make_log(most=1 << 20)
    await log.say("x" * 1_000_000)
    assert (tmp_path / "1.log").stat().st_size < 17_000


async def test_nobody_else_can_read_a_log(tmp_path: Path, make_log: MakeLog) -> None:
    log = make_log(most=4096)
    await log.say(*["x" * 100] * 100)
    assert (tmp_path / "1.log").stat().st_mode & 0o777 == 0o600


def write(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).write_text("")


def test_old_logs_go_and_running_ones_stay(tmp_path: Path) -> None:
    write(tmp_path, ["1.log", "2.log", "3.log", "4.new", "notes.txt"])
    old = time.time() - 31 * 86400
    for name in ("1.log", "2.log", "4.new", "notes.txt"):
        os.utime(tmp_path / name, (old, old))
    assert sorted(expire(tmp_path, days=30, now=time.time(), running={2})) == ["1.log", "4.new"]
    assert {path.name for path in tmp_path.iterdir()} == {"2.log", "3.log", "notes.txt"}
