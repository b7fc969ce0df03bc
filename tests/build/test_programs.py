"""Programs of builds: nothing they start outlives them, and nothing they write can hurt."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kennel.build.programs import Programs
from kennel.build.sandbox import UNIT, Reach, Sandbox, quoted
from kennel.errors import BuildError

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path / "sessions")


async def ignore(_lines: Sequence[str]) -> None: ...


def alive(mark: Path) -> list[int]:
    """Return the processes that noted their numbers in a folder and still run."""
    numbers = [int(path.name) for path in mark.iterdir()]
    return [number for number in numbers if _command(number)]


def _command(number: int) -> bytes:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()  # empty once it has ended
    except OSError:
        return b""


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_output_and_status_come_back(programs: Programs, tmp_path: Path) -> None:
    heard: list[str] = []

    async def listen(lines: Sequence[str]) -> None:
        heard.extend(lines)

    script = "cat; echo to stderr >&2; printf 'no line feed, \\351' >&2; exit 7"
    done = await programs.run(1, ["sh", "-c", script], env=ENV, listen=listen, feed=b"fed")
    assert (done.status, done.output) == (7, b"fed")
    assert heard == ["to stderr", "no line feed, \ufffd"]
    assert not [*(tmp_path / "sessions").iterdir()]


async def test_the_environment_is_what_was_given(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "of Kennel")
    done = await programs.run(1, ["env"], env={**ENV, "A": "b"}, listen=ignore)
    assert b"VAULT_TOKEN" not in done.output
    assert b"A=b" in done.output


async def test_a_program_that_is_not_there_is_named(programs: Programs) -> None:
    with pytest.raises(BuildError, match=r"there is no program no-such-program .*PATH"):
        await programs.run(1, ["no-such-program"], env=ENV, listen=ignore)


async def test_endless_output_is_ended(programs: Programs, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="more than 1000 bytes"):
        await programs.run(1, ["yes"], env=ENV, listen=ignore, most_output=1000)
    assert not [*(tmp_path / "sessions").iterdir()]


async def test_an_endless_line_takes_no_endless_memory(programs: Programs) -> None:
    longest = 0

    async def listen(lines: Sequence[str]) -> None:
        nonlocal longest
        longest = max(longest, *map(len, lines))

    script = "head -c 20000000 /dev/zero | tr '\\0' x >&2"
    await programs.run(1, ["sh", "-c", script], env=ENV, listen=listen)
    assert longest < 9_000_000


async def test_a_program_that_ended_is_not_waited_for_because_of_its_children(
    programs: Programs,
) -> None:
    began = time.monotonic()
    script = "sleep 60 & echo done"
    done = await programs.run(1, ["sh", "-c", script], env=ENV, listen=ignore)
    assert done.output == b"done\n"
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("closed", [">&- 2>&-", "2>&-", ">&-"])
async def test_a_program_that_closes_its_output_is_waited_for_without_spinning(
    programs: Programs, closed: str
) -> None:
    script = f"exec {closed}; sleep 0.2; exit 3"
    cpu = time.process_time()
    assert (await programs.run(1, ["sh", "-c", script], env=ENV, listen=ignore)).status == 3
    assert time.process_time() - cpu < 0.15


async def test_cancelling_ends_every_child(programs: Programs, tmp_path: Path) -> None:
    mark = tmp_path / "running"
    mark.mkdir()
    child = f"sh -c 'trap : TERM; touch {mark}/$$; sleep 60; sleep 60'"
    script = f"for i in 1 2 3; do {child} & done; wait"
    running = asyncio.create_task(programs.run(1, ["sh", "-c", script], env=ENV, listen=ignore))
    await until(lambda: len(alive(mark)) == 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert alive(mark) == []
    assert not [*(tmp_path / "sessions").iterdir()]


KENNEL = """
import asyncio, pathlib, sys
from kennel.build.programs import Programs

async def ignore(lines): ...

folder, script = pathlib.Path(sys.argv[1]), sys.argv[2]
env = {"PATH": "/usr/bin:/bin"}
asyncio.run(Programs(folder).run(1, ["sh", "-c", script], env=env, listen=ignore))
"""


async def test_what_a_killed_kennel_leaves_is_swept(programs: Programs, tmp_path: Path) -> None:
    mark = tmp_path / "running"
    mark.mkdir()
    script = f"sh -c 'trap : TERM; touch {mark}/$$; sleep 60; sleep 60' & wait; sleep 60"
    kennel = subprocess.Popen([sys.executable, "-c", KENNEL, str(tmp_path / "sessions"), script])
    await until(lambda: len(alive(mark)) == 1)
    kennel.send_signal(signal.SIGKILL)
    kennel.wait()
    assert await programs.sweep() == ["kennel-build-1-1"]
    await until(lambda: alive(mark) == [])
    assert await programs.sweep() == []


def test_a_unit_holds_what_a_step_needs_and_no_more(tmp_path: Path) -> None:
    sandbox = Sandbox(hidden=(tmp_path / "state", tmp_path / "run"), memory_max=1 << 30, timeout=60)
    words = sandbox.wrap(
        "kennel-build-1-2",
        ["nix", "eval", "--expr", "${system} $HOME"],
        env={"HOME": "/h"},
        reach=Reach(writes=(tmp_path / "state/home",), reads=(tmp_path / "state/m:i rror",)),
    )
    assert words[-4:] == ["nix", "eval", "--expr", "$${system} $$HOME"]
    assert f"--property=TemporaryFileSystem={tmp_path}/state:ro" in words
    assert f"--property=BindPaths={tmp_path}/state/home" in words
    assert f'--property=BindReadOnlyPaths="{tmp_path}/state/m\\:i rror"' in words
    assert "--property=MemoryMax=1073741824" in words
    assert "--unit=kennel-build-1-2" in words
    assert "--slice=kennel-builds.slice" in words


@pytest.mark.parametrize(
    ("unit", "ours"),
    [
        ("kennel-build-12-3.service", True),
        ("kennel-build--main--api--0123456789ab.service", False),
        ("kennel-build-1--main--api--0123456789ab.service", False),
        ("kennel-build-1-2--main--3.service", False),
        ("kennel-build-1-2.service.d", False),
    ],
)
def test_units_of_services_are_never_taken_for_builds(unit: str, ours: bool) -> None:
    assert bool(UNIT.fullmatch(unit)) is ours


def test_plain_paths_are_not_quoted() -> None:
    assert quoted(Path("/var/lib/kennel")) == "/var/lib/kennel"
