"""Losing D-Bus, missing rights, odd journals."""

import asyncio
import concurrent.futures.thread  # noqa: F401  an unprivileged child could not import it later
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor, journal
from kennel.domain import UnitState
from kennel.errors import KennelError, Rejected, Unavailable
from kennel.plugin import Supervisor
from kennel.plugin.settings import Host
from kennel.testing.host import Box, systemd_box
from kennel.testing.missing import missing
from kennel.testing.probe import (
    ask,
    environment,
    eventually,
    has_reason,
    has_state,
    make_end,
    probe,
    unit_of,
)
from kennel.testing.supervised_at_times import FAR_OFF, timed

Cut = Callable[[SystemdSupervisor], None]
pytestmark = pytest.mark.host

P = ParamSpec("P")
NOBODY = 65534


class TestBus:
    async def test_a_lost_connection_is_made_again(
        self, supervisor: SystemdSupervisor, cut: Cut
    ) -> None:
        units = [unit_of("/bin/sleep", "300", name=f"s{number}") for number in range(20)]

        async def disturb() -> None:
            for _ in range(5):
                await asyncio.sleep(0.05)
                cut(supervisor)

        async with asyncio.TaskGroup() as group:
            group.create_task(disturb())
            for unit in units:
                group.create_task(persist(supervisor.ensure, unit, {}))
        observed = await supervisor.observe()
        assert {observed[unit.name].state for unit in units} == {UnitState.RUNNING}
        for unit in units:
            await persist(supervisor.remove, unit.name)
        assert await supervisor.observe() == {}

    async def test_one_that_is_slow_is_not_lost(
        self, supervisor: SystemdSupervisor, box: Box, caplog: pytest.LogCaptureFixture
    ) -> None:
        units = [unit_of("/bin/sleep", "300", name=f"s{number}") for number in range(100)]
        stutter = "for _ in $(seq 8); do kill -STOP $1; sleep 0.3; kill -CONT $1; sleep 0.03; done"
        daemon = box.run(["pidof", "dbus-daemon"]).stdout.strip()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(box.run, ["sh", "-c", stutter, "sh", daemon]))
            for unit in units:
                group.create_task(supervisor.ensure(unit, {}))
        assert "lost" not in caplog.text
        for unit in units:
            await supervisor.remove(unit.name)

    async def test_signals_are_heard_again_after_a_loss(
        self, supervisor: SystemdSupervisor, cut: Cut
    ) -> None:
        cut(supervisor)
        unit = unit_of("/bin/sh", "-c", "exit 5")
        await supervisor.ensure(unit, environment(unit))
        await eventually(lambda: has_state(supervisor, unit, UnitState.FAILED))
        assert (await supervisor.observe())[unit.name].reason == "exited with status 5"

    async def test_a_connection_is_kept_without_being_asked(
        self, supervisor: SystemdSupervisor, cut: Cut
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        cut(supervisor)
        await asyncio.sleep(0.5)
        await make_end(unit, "exit 9")
        await eventually(lambda: has_reason(supervisor, unit, "exited with status 9"))

    async def test_a_restarted_d_bus_costs_nothing(self, tmp_path: Path) -> None:
        host = Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")
        host.run_dir.mkdir()
        with systemd_box(tmp_path / "box", bind=[host.run_dir]) as box:
            config = SystemdConfig(bus=box.bus, journal=box.journal, stop_timeout=0.5)
            unit, later = probe(), probe(name="later")
            async with SystemdSupervisor(config, host) as supervisor:
                await supervisor.ensure(unit, environment(unit))
                run = (await ask(unit))["run"]
                box.run(["sh", "-c", "kill -9 $(systemctl show -P MainPID dbus.service)"])
                await eventually(lambda: _is_well(supervisor))
                await persist(supervisor.ensure, later, environment(later))
                assert (await ask(later))["run"] != (await ask(unit))["run"] == run
                assert set(await supervisor.observe()) == {unit.name, later.name}

    async def test_no_systemd_stops_the_start_and_says_what_to_do(self, host: Host) -> None:
        config = SystemdConfig(bus=f"unix:path={host.run_dir}/no-bus")
        with pytest.raises(Rejected, match='supervisor = "process"'):
            async with SystemdSupervisor(config, host):
                pass

    async def test_no_d_bus_later_on_is_unavailable(self, tmp_path: Path) -> None:
        host = Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")
        with systemd_box(tmp_path / "box") as box:
            supervisor = SystemdSupervisor(SystemdConfig(bus=box.bus), host)
            await supervisor.__aenter__()
        with pytest.raises(Unavailable):
            await supervisor.observe()
        with pytest.raises(Unavailable):
            await supervisor.check()
        await supervisor.__aexit__(None, None, None)


class TestRights:
    async def test_asking_for_them_leaves_no_unit_behind(
        self, supervisor: SystemdSupervisor, box: Box
    ) -> None:
        await supervisor.check()
        await supervisor.check()
        listed = box.run(["systemctl", "list-units", "--all", "--no-legend", "kennel-check*"])
        assert listed.stdout == ""

    def test_a_user_who_may_not_start_units_is_told_what_to_do(
        self, config: SystemdConfig, box: Box
    ) -> None:
        async def check() -> None:
            supervisor = SystemdSupervisor(config, Host(state_dir=Path("/"), run_dir=Path("/")))
            await supervisor._bus.open()
            try:
                await supervisor.check()
            finally:
                await supervisor._bus.close()

        said = as_nobody(check)
        assert said.startswith("Rejected: systemd does not let Kennel's user call")
        assert "polkit" in said

    def test_the_polkit_rule_of_the_docs_is_enough(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "supervisors.md").read_text()
        rule = page.split("```js\n")[1].split("```")[0].replace('"kennel"', '"nobody"')
        folder = Path(tempfile.mkdtemp(prefix="kennel-polkit-"))
        folder.chmod(0o755)
        run_dir = folder / "run"
        run_dir.mkdir()
        os.chown(run_dir, NOBODY, NOBODY)
        try:
            with systemd_box(folder / "box", bind=[run_dir]) as box:
                if box.run(["test", "-e", "/usr/lib/polkit-1/polkitd"], check=False).returncode:
                    missing("polkit is not installed")
                write = [
                    "sh",
                    "-c",
                    f"cat > /etc/polkit-1/rules.d/50-kennel.rules <<'END'\n{rule}END",
                ]
                box.run(write)
                assert as_nobody(lambda: whole_life(box, run_dir)) == "nothing"
        finally:
            shutil.rmtree(folder)

    def test_a_user_who_may_not_read_the_journal_is_told_what_to_do(self, box: Box) -> None:
        async def read() -> None:
            raise KennelError("\n".join(await journal.read("dbus", 5, folder=box.journal)))

        assert as_nobody(read) == f"KennelError: {journal.FORBIDDEN}"


class TestJournal:
    async def test_long_and_broken_lines_are_lines(self, supervisor: SystemdSupervisor) -> None:
        write = (
            "import sys, time; out = sys.stdout.buffer;"
            "out.write(b'x' * 10_000 + b'\\n'); out.write(b'\\xff\\xfe binary\\n');"
            "out.write(b'\\x1b[31mred\\x1b[0m\\n'); out.write(b'end\\n'); out.flush();"
            "time.sleep(60)"
        )
        unit = unit_of("/usr/bin/python3", "-c", write)
        await supervisor.ensure(unit, environment(unit))

        async def ended() -> bool:
            return "end" in await supervisor.logs(unit.name, 10)

        await eventually(ended)
        lines = await supervisor.logs(unit.name, 4)
        assert lines == ["x" * 10_000, "\ufffd\ufffd binary", "\x1b[31mred\x1b[0m", "end"]

    @pytest.mark.parametrize(
        ("entry", "lines"),
        [
            (b'{"MESSAGE": "one\\ntwo"}', ["one", "two"]),
            (b'{"MESSAGE": null}', []),
            (b'{"MESSAGE": [104, 105]}', ["hi"]),
            (b'{"MESSAGE": ["one", "two"]}', ["one", "two"]),
            (b'{"MESSAGE": ["one", [104, 105], null]}', ["one", "hi", ""]),
            (b"{}", []),
            (b"no json", []),
            (b"[]", []),
        ],
    )
    def test_every_form_of_a_message_is_read(self, entry: bytes, lines: list[str]) -> None:
        assert list(journal._lines(entry)) == lines


async def persist(
    what: Callable[P, Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Do what the reconciler does about `Unavailable`: try again on a later pass."""
    for _ in range(20):
        try:
            return await what(*args, **kwargs)
        except Unavailable:
            await asyncio.sleep(0.1)
    raise AssertionError("unavailable for good")


async def whole_life(box: Box, run_dir: Path) -> None:
    """Start units of every kind, see them, and stop them again."""
    config = SystemdConfig(bus=box.bus, stop_timeout=0.5)
    unit, nightly, once = probe(), timed(probe(), FAR_OFF), probe("ends")
    async with SystemdSupervisor(config, Host(state_dir=run_dir, run_dir=run_dir)) as supervisor:
        await supervisor.check()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        await supervisor.ensure(nightly, environment(nightly))
        assert set(await supervisor.observe()) == {unit.name, nightly.name}
        assert await supervisor.run(once, environment(once), within=30) is None
        for each in (unit, nightly, once):
            await supervisor.remove(each.name)
        assert await supervisor.observe() == {}


def as_nobody(what: Callable[[], Coroutine[Any, Any, None]]) -> str:
    """Run something as an unprivileged user, in a process of its own; return its error."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            asyncio.run(what())
            text = "nothing"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


async def _is_well(supervisor: Supervisor) -> bool:
    try:
        await supervisor.check()
    except Unavailable:
        return False
    return True
