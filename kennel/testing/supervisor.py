"""What every supervisor must do, written as tests; and one that runs coroutines."""

import asyncio
import contextlib
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pytest
import pytest_asyncio

from kennel.domain import Env, Key, Ref, Secret, Tenant, Unit, UnitState, UnitStatus, names
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Supervisor
from kennel.testing.contract import Contract
from kennel.testing.missing import missing

MakeSupervisor: TypeAlias = Callable[[], Supervisor]
MakeUnit: TypeAlias = Callable[..., Unit]

TENANT = Tenant("contract", Ref.branch("main"))

AWKWARD = {
    "EMPTY": "",
    "SPACES": "  two before, two after  ",
    "QUOTES": """it's "quoted" and `run`""",
    "DOLLARS": "$HOME ${HOME} $$ $(id)",
    "PERCENT": "%n %h %% 100%",
    "BACKSLASHES": r"C:\temp\new\ and at the end \ ".rstrip(),
    "LINES": "one\ntwo\r\nthree\n\n",
    "COMMENT": "# no comment; nor = this",
    "CONTROL": "\t\x01\x1b[31m\x7f",
    "UNICODE": "grüß 日本 🐕",
    "KEY": "-----BEGIN KEY-----\nab/+==\n-----END KEY-----\n",
    "LONG": "x" * 100_000,
    "lower_case": "too",
}
"""Values that careless quoting breaks."""

LITERAL = ("$HOME", "${PORT}", "$$", "%n", "%%", "a b", "", "'", '"', "\\", "\\x41", "*", "~", ";")
"""Arguments that a shell, or systemd, would change."""

PROBE = """
import json, os, signal, socket, sys
def writes(folder):
    try:
        with open(os.path.join(folder, "probe"), "w") as file: file.write("x")
        return True
    except OSError: return False
mode = sys.argv[1]
print("probe: " + mode, flush=True)
if mode == "fails": sys.exit(3)
if mode == "stubborn": signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
if mode == "family":
    for apart in (False, True):
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if apart: os.setpgid(0, 0)
            break
while True:
    peer = server.accept()[0]
    with peer, peer.makefile("rw") as stream:
        word, _, rest = stream.readline().strip().partition(" ")
        if word == "exit": os._exit(int(rest))
        if word == "kill": os.kill(os.getpid(), int(rest))
        if word == "say": print(rest, flush=True)
        seen = {"run": os.getpid(), "env": dict(os.environ), "args": sys.argv[2:],
                "writes": [writes(os.environ["HOME"]), writes(".")]}
        stream.write(json.dumps(seen) + "\\n")
"""
"""A service that answers, on its port, a line with what it sees."""


PATIENCE = 15.0
"""Seconds that anything may take before a test fails."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def ask(unit: Unit, line: str = "look", *, within: float | None = None) -> dict[str, Any]:
    """Send a line to a unit that runs `PROBE` and return its answer, as soon as it answers.

    "look" answers with its `run` (another one after every start), `env` and `args`, and whether it
    `writes` to its home and working directory; "say TEXT" makes it write that to its output.
    """
    async with asyncio.timeout(within or PATIENCE):
        while True:
            try:
                seen: dict[str, Any] = json.loads(await _exchange(unit, line))
            except (OSError, ValueError):
                await asyncio.sleep(0.02)
            else:
                return seen


async def make_end(unit: Unit, line: str) -> None:
    """Send a line to a unit that ends it, such as "exit 3" or "kill 9"."""
    await _exchange(unit, line)


async def answers(unit: Unit) -> bool:
    """Return whether anybody listens on the unit's port."""
    try:
        await _exchange(unit, "")
    except ConnectionRefusedError:
        return False
    return True


async def _exchange(unit: Unit, line: str) -> bytes:
    """Send a line and return all that comes back, be it nothing because the unit has ended."""
    reader, writer = await asyncio.open_connection(unit.address, unit.port)
    try:
        writer.write(f"{line}\n".encode())
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def eventually(
    question: Callable[[], Awaitable[object]], *, within: float | None = None
) -> None:
    """Wait until the answer is true; fail if it is not in time."""
    async with asyncio.timeout(within or PATIENCE):
        while not await question():  # noqa: ASYNC110  what is asked sets no event
            await asyncio.sleep(0.02)


def environment(unit: Unit, more: Mapping[str, str] | None = None) -> Env:
    """Return what a unit is given: where to listen, and more."""
    everything = {"PORT": str(unit.port), "HOST": unit.address, **(more or {})}
    return {name: Secret(value) for name, value in everything.items()}


class SupervisorContract(Contract):
    """The conformance suite of a supervisor.

        class TestRunit(SupervisorContract):
            @pytest.fixture
            def make_supervisor(self, tmp_path: Path) -> MakeSupervisor:
                return lambda: RunitSupervisor(RunitConfig(stop_timeout=1), host_at(tmp_path))

    Whatever the fixture returns is called more than once: each call stands for a start of Kennel,
    one after the other, on the same host. Give it short delays, or the tests take long. Its units
    must be able to listen on the host's 127.0.0.1.
    """

    @pytest.fixture
    def make_supervisor(self) -> MakeSupervisor:
        """Return what makes a supervisor, not yet opened, for one and the same host."""
        self.needs("make_supervisor", returns="what makes a Supervisor: () -> Supervisor")

    def python(self) -> str:
        """Return a Python 3 that units can execute; it must lie where their sandbox sees it."""
        found = Path(sys.executable).resolve()
        if found.is_relative_to("/root") or found.is_relative_to("/home"):
            found = Path("/usr/bin/python3")
        if not found.exists():
            missing(f"{found} is not there: units need a Python outside of home directories")
        return str(found)

    def unreachable(self) -> Supervisor:
        """Return a supervisor, not yet opened, that does not reach what runs its units."""
        raise NotImplementedError

    @pytest.fixture
    def units(self) -> list[Unit]:
        return []

    @pytest.fixture
    def make_unit(self, units: list[Unit]) -> MakeUnit:
        """Return what makes a unit of `PROBE`: (mode, *arguments) -> Unit."""
        try:
            python = self.python()
        except NotImplementedError:
            python = "/no/program"

        def make(mode: str = "serves", *args: str) -> Unit:
            key = Key(TENANT, f"probe{len(units)}")
            units.append(
                Unit(
                    name=names.unit(key, secrets.token_hex(6)),
                    key=key,
                    command=(python, "-c", PROBE, mode, *args),
                    port=free_port(),
                )
            )
            return units[-1]

        return make

    @pytest_asyncio.fixture
    async def supervisor(
        self, make_supervisor: MakeSupervisor, units: list[Unit]
    ) -> AsyncIterator[Supervisor]:
        async with make_supervisor() as supervisor:
            yield supervisor
            await asyncio.gather(*(supervisor.remove(unit.name) for unit in units))

    async def test_says_what_it_is(self, supervisor: Supervisor) -> None:
        assert supervisor.name.isalnum()
        assert supervisor.name.islower()
        assert isinstance(supervisor.survives, bool)

    async def test_is_well(self, supervisor: Supervisor) -> None:
        await supervisor.check()

    async def test_ensured_units_run_and_are_observed(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        assert unit.name not in await supervisor.observe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        assert (await supervisor.observe())[unit.name].state is UnitState.RUNNING

    async def test_ensure_may_be_repeated(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        first = await ask(unit)
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["run"] == first["run"]

    async def test_the_environment_arrives_as_it_is(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit, AWKWARD))
        seen = (await ask(unit))["env"]
        assert {name: seen.get(name) for name in AWKWARD} == AWKWARD
        assert (seen["HOST"], seen["PORT"]) == (unit.address, str(unit.port))

    async def test_kennels_own_environment_stays_its_own(
        self, supervisor: Supervisor, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KENNEL_OF_ITS_OWN", "secret")
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        assert "KENNEL_OF_ITS_OWN" not in (await ask(unit))["env"]

    @pytest.mark.parametrize(
        ("name", "value"), [("NUL", "hush\0hush"), ("A=B", "hush"), ("", "hush")]
    )
    async def test_a_variable_that_cannot_be_is_named_without_its_value(
        self, supervisor: Supervisor, make_unit: MakeUnit, name: str, value: str
    ) -> None:
        unit = make_unit()
        with pytest.raises(Rejected) as refused:
            await supervisor.ensure(unit, environment(unit, {name: value}))
        assert name in str(refused.value)
        assert "hush" not in str(refused.value)
        assert unit.name not in await supervisor.observe()

    async def test_arguments_are_literal(self, supervisor: Supervisor, make_unit: MakeUnit) -> None:
        unit = make_unit("serves", *LITERAL)
        await supervisor.ensure(unit, environment(unit))
        assert tuple((await ask(unit))["args"]) == LITERAL

    async def test_a_unit_may_write_to_its_home(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["writes"] == [True, True]

    async def test_units_run_side_by_side(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        many = [make_unit() for _ in range(8)]
        await asyncio.gather(*(supervisor.ensure(unit, environment(unit)) for unit in many))
        seen = await asyncio.gather(*(ask(unit) for unit in many))
        assert len({each["run"] for each in seen}) == len(many)
        assert [each["env"]["PORT"] for each in seen] == [str(unit.port) for unit in many]
        observed = await supervisor.observe()
        assert {observed[unit.name].state for unit in many} == {UnitState.RUNNING}

    async def test_removed_units_are_gone(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit, other = make_unit(), make_unit()
        for each in (unit, other):
            await supervisor.ensure(each, environment(each))
            await ask(each)
        await supervisor.remove(unit.name)
        assert not await answers(unit)
        observed = await supervisor.observe()
        assert unit.name not in observed
        assert other.name in observed
        assert await answers(other)

    async def test_remove_may_be_repeated(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.remove(unit.name)
        await supervisor.ensure(unit, environment(unit))
        await supervisor.remove(unit.name)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()

    async def test_removed_units_may_come_back(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        first = await ask(unit)
        await supervisor.remove(unit.name)
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["run"] != first["run"]

    async def test_one_unit_may_be_ensured_twice_at_once(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await asyncio.gather(*(supervisor.ensure(unit, environment(unit)) for _ in range(3)))
        first = await ask(unit)
        await supervisor.ensure(unit, environment(unit))
        assert (await ask(unit))["run"] == first["run"]

    @pytest.mark.parametrize("end", ["exit 3", "kill 9"])
    async def test_what_crashes_is_started_again(
        self, supervisor: Supervisor, make_unit: MakeUnit, end: str
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit, AWKWARD))
        first = await ask(unit)
        await make_end(unit, end)
        await eventually(lambda: _another_run(unit, first["run"]))
        again = await ask(unit)
        assert {name: again["env"][name] for name in AWKWARD} == AWKWARD
        assert (await supervisor.observe())[unit.name].state is UnitState.RUNNING

    async def test_what_fails_all_the_time_is_given_up(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("fails")
        await supervisor.ensure(unit, environment(unit))

        async def given_up() -> bool:
            status = (await supervisor.observe()).get(unit.name)
            if status and status.state in {UnitState.RESTARTING, UnitState.FAILED}:
                assert status.reason in {"", "exited with status 3"}
            return status is None or status.state is UnitState.FAILED

        await eventually(given_up, within=60)
        assert "probe: fails" in await supervisor.logs(unit.name, 100)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()

    async def test_what_was_given_up_may_be_ensured_again(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit("fails")
        await supervisor.ensure(unit, environment(unit))

        async def given_up() -> bool:
            status = (await supervisor.observe()).get(unit.name)
            return status is None or status.state is UnitState.FAILED

        await eventually(given_up, within=60)
        mended = Unit(
            name=unit.name,
            key=unit.key,
            command=tuple("serves" if word == "fails" else word for word in unit.command),
            port=unit.port,
        )
        await supervisor.ensure(mended, environment(mended))
        await ask(mended)
        assert (await supervisor.observe())[unit.name].state is UnitState.RUNNING

    async def test_logs_are_the_last_lines_oldest_first(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit, other = make_unit(), make_unit()
        for each in (unit, other):
            await supervisor.ensure(each, environment(each))
        for word in ("one", "zwölf", "3 🐕"):
            await ask(unit, f"say {word}")
        await eventually(lambda: self._logged(supervisor, unit, "3 🐕"))
        assert list(await supervisor.logs(unit.name, 3)) == ["one", "zwölf", "3 🐕"]
        assert list(await supervisor.logs(unit.name, 1)) == ["3 🐕"]
        assert "one" not in await supervisor.logs(other.name, 100)

    async def test_logs_stay_when_the_unit_is_removed(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit, "say last words")
        await supervisor.remove(unit.name)
        await eventually(lambda: self._logged(supervisor, unit, "last words"))

    async def test_there_are_no_logs_of_what_never_was(
        self, supervisor: Supervisor, make_unit: MakeUnit
    ) -> None:
        assert list(await supervisor.logs(make_unit().name, 10)) == []

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9], ids="after {:.0%}".format)
    async def test_goes_on_where_it_was_cut_off(
        self, supervisor: Supervisor, make_unit: MakeUnit, part: float
    ) -> None:
        took = await _seconds_of_an_ensure(supervisor, make_unit())
        unit = make_unit()
        task = asyncio.create_task(supervisor.ensure(unit, environment(unit)))
        await asyncio.wait({task}, timeout=took * part)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        await supervisor.remove(unit.name)
        assert not await answers(unit)
        assert unit.name not in await supervisor.observe()

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9], ids="after {:.0%}".format)
    async def test_may_be_removed_while_it_starts(
        self, supervisor: Supervisor, make_unit: MakeUnit, part: float
    ) -> None:
        took = await _seconds_of_an_ensure(supervisor, make_unit())
        unit = make_unit()
        task = asyncio.create_task(supervisor.ensure(unit, environment(unit)))
        await asyncio.wait({task}, timeout=took * part)
        await supervisor.remove(unit.name)
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert outcome is None or isinstance(outcome, ProviderError)
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()
        assert not await answers(unit)

    async def test_a_new_start_finds_what_survived(
        self, make_supervisor: MakeSupervisor, make_unit: MakeUnit
    ) -> None:
        unit = make_unit()
        async with make_supervisor() as first:
            await first.ensure(unit, environment(unit, AWKWARD))
            run = (await ask(unit))["run"]
        async with make_supervisor() as second:
            if not second.survives:
                assert not await answers(unit)
                assert unit.name not in await second.observe()
                return
            assert (await second.observe())[unit.name].state is UnitState.RUNNING
            await second.ensure(unit, environment(unit, AWKWARD))
            assert (await ask(unit))["run"] == run
            await make_end(unit, "exit 3")
            await eventually(lambda: _another_run(unit, run))
            await second.remove(unit.name)
            assert not await answers(unit)

    @pytest.mark.parametrize("command", ["/no/such/program", "/etc/passwd", "/"])
    async def test_what_cannot_be_executed_is_rejected(
        self, supervisor: Supervisor, make_unit: MakeUnit, command: str
    ) -> None:
        await self.optional(self.python)
        unit = make_unit()
        broken = Unit(name=unit.name, key=unit.key, command=(command, "x"), port=unit.port)
        with pytest.raises(Rejected, match=command):
            await supervisor.ensure(broken, environment(broken, AWKWARD))
        assert unit.name not in await supervisor.observe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)

    @pytest.mark.parametrize("mode", ["stubborn", "family"])
    async def test_remove_leaves_no_process(
        self, supervisor: Supervisor, make_unit: MakeUnit, mode: str
    ) -> None:
        await self.optional(self.python)
        unit = make_unit(mode)
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        await supervisor.remove(unit.name)
        assert not await answers(unit)
        assert unit.name not in await supervisor.observe()

    async def test_what_runs_the_units_out_of_reach_is_said(self, make_unit: MakeUnit) -> None:
        away = await self.optional(self.unreachable)
        unit = make_unit()
        await self.says_so(
            (Unavailable, Rejected),
            away,
            away.observe,
            lambda: away.ensure(unit, environment(unit)),
            lambda: away.remove(unit.name),
            away.check,
        )

    async def _logged(self, supervisor: Supervisor, unit: Unit, line: str) -> bool:
        return line in await supervisor.logs(unit.name, 100)


async def _another_run(unit: Unit, run: object) -> bool:
    seen = await ask(unit)
    return bool(seen["run"] != run)


async def _seconds_of_an_ensure(supervisor: Supervisor, unit: Unit) -> float:
    loop = asyncio.get_running_loop()
    before = loop.time()
    await supervisor.ensure(unit, environment(unit))
    took = loop.time() - before
    await supervisor.remove(unit.name)
    return took


class Exit(Exception):
    """What a program of the `MemorySupervisor` raises to end badly; `status` is why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exited with status {status}")


Say: TypeAlias = Callable[[str], None]
Program: TypeAlias = Callable[[Unit, Env, Say], Awaitable[None]]
"""What a unit of the `MemorySupervisor` does: with its environment, and a way to write lines."""


async def answer(unit: Unit, env: Env, say: Say) -> None:
    """Listen on the unit's port as `PROBE` does, and answer an HTTP GET with 200.

    A unit with "fails" among its arguments exits at once.
    """
    mode = unit.command[3] if len(unit.command) > 3 else "serves"
    say(f"probe: {mode}")
    if mode == "fails":
        raise Exit(3)
    ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen = {
        "run": secrets.token_hex(8),
        "env": {name: secret.value for name, secret in env.items()},
        "args": list(unit.command[4:]),
        "writes": [True, True],
    }

    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            served.add(task)
        word, _, rest = (await reader.readline()).decode().strip().partition(" ")
        while word == "GET" and (await reader.readline()).strip():
            pass  # its headers: a connection closed before they are read is reset
        if word == "say":
            say(rest)
        if word == "exit" and not ending.done():
            ending.set_exception(Exit(int(rest)))
        elif word == "kill" and not ending.done():
            ending.set_exception(RuntimeError(f"killed by signal {rest}"))
        elif word:
            writer.write(_answer(word, json.dumps(seen)))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    try:
        async with await asyncio.start_server(serve, unit.address, unit.port):
            await ending
    finally:
        if served:
            await asyncio.wait(served, timeout=1)


def _answer(word: str, text: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text) + 1}\r\nConnection: close\r\n\r\n"
    return ((head if word == "GET" else "") + text + "\n").encode()


@dataclass
class MemoryUnit:
    """A unit of the `MemorySupervisor`. `starts`: how often it was started."""

    unit: Unit
    env: Env
    status: UnitStatus = UnitStatus(state=UnitState.RUNNING)  # noqa: RUF009  frozen
    task: asyncio.Task[None] | None = None
    starts: int = 0


@dataclass
class MemoryHost:
    """What units run on: it stays when a supervisor is closed. `lines`: what each wrote."""

    units: dict[str, MemoryUnit] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)


class MemorySupervisor(Supervisor):
    """Runs a coroutine for each unit, whatever its command.

    `program`: what they run; by default they answer on their port. `host`: where they run; give
    the same one to another supervisor and it stands for a new start of Kennel. `problem`: what
    every call raises, to play a host that is out of reach.
    """

    name: ClassVar[str] = "memory"
    survives: ClassVar[bool] = True

    def __init__(
        self, program: Program = answer, host: MemoryHost | None = None, *, delay: float = 0.01
    ) -> None:
        self.host = host or MemoryHost()
        self.problem: ProviderError | None = None
        self._program = program
        self._delay = delay

    async def check(self) -> None:
        if self.problem:
            raise self.problem

    async def observe(self) -> Mapping[str, UnitStatus]:
        await self.check()
        return {name: unit.status for name, unit in self.host.units.items()}

    async def ensure(self, unit: Unit, env: Env) -> None:
        await self.check()
        for name, secret in env.items():
            if "\0" in secret.value or "=" in name or not name:
                raise Rejected(f"{unit.name}: {name!r} cannot be passed on")
        there = self.host.units.get(unit.name)
        if there and there.status.state is not UnitState.FAILED:
            return
        fresh = self.host.units[unit.name] = MemoryUnit(unit, env)
        fresh.task = asyncio.create_task(self._run(fresh), name=unit.name)

    async def remove(self, unit: str) -> None:
        await self.check()
        there = self.host.units.pop(unit, None)
        if there and there.task:
            there.task.cancel()
            await asyncio.gather(there.task, return_exceptions=True)

    async def logs(self, unit: str, lines: int) -> Sequence[str]:
        await self.check()
        return self.host.lines.get(unit, [])[-lines:]

    async def _run(self, unit: MemoryUnit) -> None:
        """Run the program until it ends well; again when it fails, but not more than 5 times."""
        say = self.host.lines.setdefault(unit.unit.name, []).append
        while unit.starts < 5:
            unit.starts += 1
            unit.status = UnitStatus(state=UnitState.RUNNING)
            try:
                await self._program(unit.unit, unit.env, say)
            except Exception as error:
                say(f"{unit.unit.name}: {error}")
                unit.status = UnitStatus(state=UnitState.RESTARTING, reason=str(error))
                await asyncio.sleep(self._delay)
            else:
                del self.host.units[unit.unit.name]
                return
        unit.status = UnitStatus(state=UnitState.FAILED, reason=unit.status.reason)
