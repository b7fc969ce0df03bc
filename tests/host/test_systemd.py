"""The supervisor of production, on a real systemd."""

import asyncio
import concurrent.futures.thread  # noqa: F401  an unprivileged child could not import it later
import json
import os
import random
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor, journal, kennel_supervisors
from kennel.builtin.systemd.properties import SANDBOX
from kennel.domain import Key, Limits, Ref, Tenant, Unit, UnitState, names
from kennel.errors import ConfigError, KennelError, Rejected, Unavailable
from kennel.plugin import PluginSettings, Supervisor
from kennel.plugin.settings import Host
from kennel.testing.host import Box, systemd_box
from kennel.testing.missing import missing
from kennel.testing.supervisor import (
    PROBE,
    MakeSupervisor,
    SupervisorContract,
    ask,
    environment,
    eventually,
    free_port,
    make_end,
)

pytestmark = pytest.mark.host

P = ParamSpec("P")

PYTHON = "/usr/bin/python3"
NOBODY = 65534
SECRET = "correct-horse-battery-staple"


@pytest.fixture
def config(box: Box) -> SystemdConfig:
    return SystemdConfig(
        bus=box.bus, journal=box.journal, restart_delay=0.1, start_limit=3, stop_timeout=0.5
    )


@pytest.fixture
async def supervisor(
    config: SystemdConfig, host: Host, box: Box
) -> AsyncIterator[SystemdSupervisor]:
    async with SystemdSupervisor(config, host) as supervisor:
        yield supervisor
        for unit in await supervisor.observe():
            await supervisor.remove(unit)


def unit_of(*command: str, name: str = "api", **more: Any) -> Unit:
    key = Key(Tenant("shop", Ref.branch("feature/x")), name)
    generation = f"{random.getrandbits(48):012x}"
    return Unit(
        name=names.unit(key, generation), key=key, command=command, port=free_port(), **more
    )


def probe(mode: str = "serves", *, name: str = "api", **more: Any) -> Unit:
    return unit_of(PYTHON, "-c", PROBE, mode, name=name, **more)


def show(box: Box, unit: str, *properties: str) -> dict[str, str]:
    names_ = [f"--property={name}" for name in properties]
    text = box.run(["systemctl", "show", f"{unit}.service", *names_]).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class TestSystemdSupervisor(SupervisorContract):
    @pytest.fixture
    def make_supervisor(self, config: SystemdConfig, host: Host) -> MakeSupervisor:
        return lambda: SystemdSupervisor(config, host)

    def unreachable(self) -> Supervisor:
        host = Host(state_dir=Path("/nowhere"), run_dir=Path("/nowhere"))
        return SystemdSupervisor(SystemdConfig(bus="unix:path=/nowhere/bus"), host)


class TestSecrets:
    async def test_no_other_user_sees_one(
        self, supervisor: SystemdSupervisor, box: Box, host: Host
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
        assert (await ask(unit))["env"]["TOKEN"] == SECRET
        full = f"{unit.name}.service"
        path = "/org/freedesktop/systemd1/unit/" + re.sub(
            "[^A-Za-z0-9]", lambda c: f"_{ord(c[0]):02x}", full
        )
        public = {
            "systemctl show": ["systemctl", "show", full],
            "D-Bus": ["busctl", "introspect", "org.freedesktop.systemd1", path],
            "unit file": ["systemctl", "cat", full],
            "command lines": ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"],
            "journal": ["journalctl", "--no-pager", "-o", "export"],
            "status": ["systemctl", "status", "--no-pager", full],
        }
        for where, command in public.items():
            output = box.run(command).stdout
            assert output, where
            assert SECRET not in output, where
        assert unit.name in box.run(public["journal"]).stdout

    async def test_the_file_is_roots_alone_and_goes_with_its_unit(
        self, supervisor: SystemdSupervisor, host: Host
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
        folder = host.run_dir / "env"
        (file,) = folder.iterdir()
        assert SECRET in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        await supervisor.remove(unit.name)
        assert list(folder.iterdir()) == []

    async def test_a_unit_that_cannot_start_leaves_no_file(
        self, supervisor: SystemdSupervisor, host: Host
    ) -> None:
        unit = unit_of("/no/such/program")
        with pytest.raises(Rejected) as refused:
            await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
        assert SECRET not in str(refused.value)
        assert list((host.run_dir / "env").iterdir()) == []

    async def test_files_without_a_unit_are_cleaned_at_the_start(
        self, supervisor: SystemdSupervisor, config: SystemdConfig, host: Host
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit))
        folder = host.run_dir / "env"
        for stale in ("kennel-shop--main--api--000000000000.env", ".draft"):
            (folder / stale).write_text("TOKEN=old")
        async with SystemdSupervisor(config, host):
            assert [path.name for path in folder.iterdir()] == [f"{unit.name}.env"]

    async def test_any_text_comes_through(self, supervisor: SystemdSupervisor) -> None:
        dice = random.Random(20)
        alphabet = "ab \t\n\r\\\\\"'`$${}%#;=\x01\x1b\x7fé日🐕"
        values = {
            f"V{number}": "".join(dice.choices(alphabet, k=dice.randrange(12)))
            for number in range(400)
        }
        unit = probe()
        await supervisor.ensure(unit, environment(unit, values))
        seen = (await ask(unit))["env"]
        assert {name: seen[name] for name in values} == values

    async def test_a_path_that_systemd_would_misread_is_refused_at_the_start(
        self, config: SystemdConfig, host: Host
    ) -> None:
        odd = Host(state_dir=host.state_dir, run_dir=host.run_dir / "a[b]")
        with pytest.raises(Rejected, match="pattern"):
            async with SystemdSupervisor(config, odd):
                pass


LOOK = """
import ctypes, json, mmap, os, socket
def can(what):
    try: what(); return True
    except OSError: return False
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
libc = ctypes.CDLL(None, use_errno=True)
print(json.dumps({
    "uid": os.getuid(), "groups": os.getgroups(), "home": os.environ["HOME"], "cwd": os.getcwd(),
    "no new privileges": status["NoNewPrivs"], "capabilities": int(status["CapBnd"], 16),
    "seccomp": status["Seccomp"], "umask": status["Umask"],
    "writes to": [p for p in ("/", "/etc", "/usr", "/var/lib", "/run", "/dev/shm", "/tmp", ".")
                  if can(lambda: open(p + "/probe", "w"))],
    "sees in /home": len(os.listdir("/root")) if can(lambda: os.listdir("/root")) else None,
    "other processes": [p for p in os.listdir("/proc") if p.isdigit() and p != str(os.getpid())],
    "packet socket": can(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "netlink socket": can(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "new namespace": libc.unshare(0x10000000) == 0,
    "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0,
    "set-uid file": can(lambda: (open("/tmp/s", "w"), os.chmod("/tmp/s", 0o4755))),
    "just in time code": can(lambda: mmap.mmap(-1, 4096, prot=7)),
    "devices": sorted(set(os.listdir("/dev")) & {"kmsg", "mem", "kvm", "sda", "null", "urandom"}),
    "memory is told": can(lambda: open("/proc/meminfo")),
    "kernel settings": can(lambda: open("/proc/sys/vm/swappiness", "w")),
}), flush=True)
"""


class TestSandbox:
    async def test_a_service_may_do_its_work_and_nothing_else(
        self, supervisor: SystemdSupervisor
    ) -> None:
        unit = unit_of(PYTHON, "-c", LOOK + "import time; time.sleep(60)")
        await supervisor.ensure(unit, environment(unit))
        seen = json.loads(await first_line(supervisor, unit))
        assert seen.pop("uid") >= 61184  # one of the dynamic users
        assert len(seen.pop("groups")) <= 1
        assert seen == {
            "home": "/tmp",
            "cwd": "/tmp",
            "no new privileges": "1",
            "capabilities": 0,
            "seccomp": "2",
            "umask": "0077",
            "writes to": ["/dev/shm", "/tmp", "."],
            "sees in /home": None,
            "other processes": [],
            "packet socket": False,
            "netlink socket": True,
            "new namespace": False,
            "mount": False,
            "set-uid file": False,
            "just in time code": True,
            "devices": ["null", "urandom"],
            "memory is told": True,
            "kernel settings": False,
        }

    async def test_two_services_are_two_users(self, supervisor: SystemdSupervisor) -> None:
        tell = "import os, time; print(os.getuid(), flush=True); time.sleep(60)"
        units = [unit_of(PYTHON, "-c", tell, name=name) for name in ("api", "worker")]
        for unit in units:
            await supervisor.ensure(unit, environment(unit))
        users = [await first_line(supervisor, unit) for unit in units]
        assert users[0] != users[1]

    async def test_its_temporary_files_are_its_own_and_go_with_it(
        self, supervisor: SystemdSupervisor, box: Box
    ) -> None:
        write = "open('mine', 'w'); import time; time.sleep(60)"
        unit = unit_of(PYTHON, "-c", write)
        await supervisor.ensure(unit, environment(unit))
        find = ["sh", "-c", f"ls -d /tmp/systemd-private-*-{unit.name}.service-* 2>/dev/null"]
        assert box.run(find, check=False).stdout
        assert box.run(["test", "-e", "/tmp/mine"], check=False).returncode == 1
        await supervisor.remove(unit.name)
        assert not box.run(find, check=False).stdout

    async def test_the_operator_may_relax_it_by_name(
        self, config: SystemdConfig, host: Host, box: Box
    ) -> None:
        relaxed = PluginSettings(
            {"systemd": {"bus": config.bus, "relax": ["ProtectHome", "SystemCallFilter"]}}, host
        )
        (supervisor,) = kennel_supervisors(relaxed)
        unit = probe()
        async with supervisor:
            await supervisor.ensure(unit, environment(unit))
            seen = show(box, unit.name, "ProtectHome", "SystemCallFilter", "ProtectSystem")
            await supervisor.remove(unit.name)
        # DynamicUser= keeps homes read-only all the same; "~" forbids nothing.
        assert seen == {
            "ProtectHome": "read-only",
            "SystemCallFilter": "~",
            "ProtectSystem": "strict",
        }

    def test_what_cannot_be_relaxed_is_refused_by_name(self, host: Host) -> None:
        for wrong in ("DynamicUser", "NoNewPrivileges", "ProtectHomes"):
            with pytest.raises(ConfigError, match="relax"):
                list(kennel_supervisors(PluginSettings({"systemd": {"relax": [wrong]}}, host)))

    def test_every_part_of_it_may_be_relaxed(self, host: Host) -> None:
        settings = PluginSettings({"systemd": {"relax": sorted(SANDBOX)}}, host)
        assert len(list(kennel_supervisors(settings))) == 1

    def test_is_off_without_its_table(self, host: Host) -> None:
        assert list(kennel_supervisors(PluginSettings({}, host))) == []


async def first_line(supervisor: Supervisor, unit: Unit) -> str:
    async def written() -> bool:
        return any(line[0] in "{0123456789" for line in await supervisor.logs(unit.name, 50))

    await eventually(written)
    lines = await supervisor.logs(unit.name, 50)
    return next(line for line in lines if line[0] in "{0123456789")


class TestUnits:
    async def test_limits_and_slice(self, supervisor: SystemdSupervisor, box: Box) -> None:
        limits = Limits(memory_max=123_000_000 // 4096 * 4096, cpu_weight=50, tasks_max=77)
        unit = probe(limits=limits)
        await supervisor.ensure(unit, environment(unit))
        assert show(
            box, unit.name, "MemoryMax", "CPUWeight", "TasksMax", "Slice", "CollectMode", "Type"
        ) == {
            "MemoryMax": str(limits.memory_max),
            "CPUWeight": "50",
            "TasksMax": "77",
            "Slice": "kennel.slice",
            "CollectMode": "inactive-or-failed",
            "Type": "exec",
        }

    async def test_every_line_of_the_journal_says_whose_it_is(
        self, supervisor: SystemdSupervisor, box: Box
    ) -> None:
        unit = probe(fields={"KENNEL_COMMIT": "c0ffee", "KENNEL_SERVICE": "another", "_no": "x"})
        await supervisor.ensure(unit, environment(unit))
        await ask(unit, "say hello")
        text = box.run(["journalctl", "-o", "json", "KENNEL_COMMIT=c0ffee", "--no-pager"]).stdout
        entry = next(e for e in map(json.loads, text.splitlines()) if e["MESSAGE"] == "hello")
        assert entry["KENNEL_PROJECT"] == "shop"
        assert entry["KENNEL_REF"] == "feature/x"
        assert entry["KENNEL_SERVICE"] == "api"
        assert entry["SYSLOG_IDENTIFIER"] == unit.name

    async def test_a_hundred_start_and_stop_side_by_side(
        self, supervisor: SystemdSupervisor
    ) -> None:
        units = [unit_of("/bin/sleep", "300", name=f"s{number}") for number in range(100)]
        await asyncio.gather(*(supervisor.ensure(unit, environment(unit)) for unit in units))
        observed = await supervisor.observe()
        assert {observed[unit.name].state for unit in units} == {UnitState.RUNNING}
        await asyncio.gather(*(supervisor.remove(unit.name) for unit in units))
        assert await supervisor.observe() == {}

    async def test_failed_ones_do_not_linger(self, supervisor: SystemdSupervisor, box: Box) -> None:
        crashing, missing_ = probe("fails"), unit_of("/no/such/program", name="worker")
        await supervisor.ensure(crashing, environment(crashing))
        with pytest.raises(Rejected):
            await supervisor.ensure(missing_, environment(missing_))
        await eventually(lambda: _has_state(supervisor, crashing, UnitState.FAILED))
        listed = box.run(["systemctl", "list-units", "--all", "--no-legend", "kennel-*"]).stdout
        assert crashing.name not in listed
        assert missing_.name not in listed
        assert not box.run(["systemctl", "--failed", "--no-legend"]).stdout

    @pytest.mark.parametrize(
        ("command", "reason"),
        [("exit 3", "exited with status 3"), ("kill -KILL $$", "killed by SIGKILL")],
    )
    async def test_why_one_failed_is_remembered(
        self, supervisor: SystemdSupervisor, command: str, reason: str
    ) -> None:
        unit = unit_of("/bin/sh", "-c", command)
        await supervisor.ensure(unit, environment(unit))
        await eventually(lambda: _has_state(supervisor, unit, UnitState.FAILED))
        assert (await supervisor.observe())[unit.name].reason == reason
        await supervisor.remove(unit.name)
        assert unit.name not in await supervisor.observe()

    async def test_one_that_waits_for_its_restart_is_not_running(
        self, config: SystemdConfig, host: Host, box: Box
    ) -> None:
        patient = SystemdConfig(bus=config.bus, journal=config.journal, restart_delay=30)
        unit = unit_of("/bin/sh", "-c", "exit 3")
        async with SystemdSupervisor(patient, host) as supervisor:
            await supervisor.ensure(unit, environment(unit))
            await eventually(lambda: _has_state(supervisor, unit, UnitState.RESTARTING))
            assert (await supervisor.observe())[unit.name].reason == "exited with status 3"
            await supervisor.ensure(unit, environment(unit))
            await supervisor.remove(unit.name)
            assert unit.name not in await supervisor.observe()

    async def test_one_stopped_by_the_administrator_is_gone_and_did_not_fail(
        self, supervisor: SystemdSupervisor, box: Box
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        box.run(["systemctl", "stop", f"{unit.name}.service"])
        assert unit.name not in await supervisor.observe()

    async def test_the_reason_of_an_exec_failure_is_systemds(
        self, supervisor: SystemdSupervisor
    ) -> None:
        for command, why in (
            ("/no/such/program", "No such file or directory"),
            ("/etc/passwd", "Permission denied"),
        ):
            unit = unit_of(command)
            with pytest.raises(Rejected, match=f"{command} cannot be run: {why}"):
                await supervisor.ensure(unit, environment(unit))

    async def test_it_outlives_a_supervisor_that_is_not_closed(
        self, config: SystemdConfig, host: Host
    ) -> None:
        unit = probe()
        killed = SystemdSupervisor(config, host)
        await killed.__aenter__()
        await killed.ensure(unit, environment(unit))
        run = (await ask(unit))["run"]
        cut(killed)
        async with SystemdSupervisor(config, host) as successor:
            assert (await successor.observe())[unit.name].state is UnitState.RUNNING
            await successor.ensure(unit, environment(unit))
            assert (await ask(unit))["run"] == run
            await successor.remove(unit.name)
        await killed.__aexit__(None, None, None)

    async def test_what_an_old_systemd_does_not_know_is_left_out_and_said_once(
        self, supervisor: SystemdSupervisor, box: Box, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = box.run(["systemctl", "--version"]).stdout.split()[1]
        for name in ("api", "worker"):
            unit = probe(name=name)
            await supervisor.ensure(unit, environment(unit))
        said = [r for r in caplog.records if "does not know" in r.message]
        assert len(said) == (2 if int(first) < 254 else 0)


class TestForeignUnits:
    @pytest.fixture
    def foreign(self, box: Box) -> Callable[[str], None]:
        def start(name: str) -> None:
            box.run(["systemd-run", "--quiet", f"--unit={name}", "sleep", "300"])

        return start

    @pytest.mark.parametrize(
        "name",
        ["kennel", "kennel-build-7", "kennel-by-hand", "kennel-shop--main--api--0123456789ab"],
    )
    async def test_are_neither_shown_nor_touched(
        self,
        supervisor: SystemdSupervisor,
        foreign: Callable[[str], None],
        box: Box,
        name: str,
    ) -> None:
        foreign(name)
        assert await supervisor.observe() == {}
        with pytest.raises(Rejected, match=name):
            await supervisor.remove(name)
        key = Key(Tenant("shop", Ref.branch("main")), "api")
        unit = Unit(name=name, key=key, command=("/bin/sleep", "300"), port=1)
        with pytest.raises(Rejected, match=name):
            await supervisor.ensure(unit, {})
        assert show(box, name, "ActiveState") == {"ActiveState": "active"}
        box.run(["systemctl", "stop", f"{name}.service"])


class TestBus:
    async def test_a_lost_connection_is_made_again(self, supervisor: SystemdSupervisor) -> None:
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

    async def test_signals_are_heard_again_after_a_loss(
        self, supervisor: SystemdSupervisor
    ) -> None:
        cut(supervisor)
        unit = unit_of("/bin/sh", "-c", "exit 5")
        await supervisor.ensure(unit, environment(unit))
        await eventually(lambda: _has_state(supervisor, unit, UnitState.FAILED))
        assert (await supervisor.observe())[unit.name].reason == "exited with status 5"

    async def test_a_connection_is_kept_without_being_asked(
        self, supervisor: SystemdSupervisor
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        cut(supervisor)
        await asyncio.sleep(0.5)
        await make_end(unit, "exit 9")
        await eventually(lambda: _has_reason(supervisor, unit, "exited with status 9"))

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
        unit = unit_of(PYTHON, "-c", write)
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


def cut(supervisor: SystemdSupervisor) -> None:
    """Break the connection to D-Bus, as a restart of the daemon does."""
    bus = supervisor._bus._bus
    if bus and bus.connected and bus._sock:
        bus._sock.shutdown(socket.SHUT_RDWR)


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
    """Start a unit, see it, and stop it again."""
    config = SystemdConfig(bus=box.bus, stop_timeout=0.5)
    unit = probe()
    async with SystemdSupervisor(config, Host(state_dir=run_dir, run_dir=run_dir)) as supervisor:
        await supervisor.check()
        await supervisor.ensure(unit, environment(unit))
        await ask(unit)
        assert unit.name in await supervisor.observe()
        await supervisor.remove(unit.name)
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


async def _has_state(supervisor: Supervisor, unit: Unit, state: UnitState) -> bool:
    status = (await supervisor.observe()).get(unit.name)
    return status is not None and status.state is state


async def _has_reason(supervisor: Supervisor, unit: Unit, reason: str) -> bool:
    status = (await supervisor.observe()).get(unit.name)
    return status is not None and status.reason == reason


async def _is_well(supervisor: Supervisor) -> bool:
    try:
        await supervisor.check()
    except Unavailable:
        return False
    return True
