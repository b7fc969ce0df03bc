"""Who reaches whom on a machine of its own: real units, real nftables.

The first test boots a box with a network of its own and runs the others of this file in it: the
rules of this machine are never touched.
"""

import asyncio
import grp
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kennel.build.sandbox import Reach, Sandbox
from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor, kennel_supervisors
from kennel.builtin.systemd.ruleset import table_name
from kennel.domain import Unit
from kennel.errors import ConfigError, Rejected, Unavailable
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host
from kennel.testing.host import NoBox, systemd_box
from kennel.testing.missing import missing
from kennel.testing.probe import environment, eventually, unit_of

pytestmark = pytest.mark.host

INSIDE = os.environ.get("KENNEL_IN_BOX") == "1"
inside = pytest.mark.skipif(not INSIDE, reason="runs in the box that test_in_a_box boots")

PORTS = range(20000, 20100)
DATABASE, WEB, PUBLIC, CADDY_ADMIN = 5432, 3000, 443, 2019
HERE, HERE6 = "10.9.8.7", "fd00::7"
"""Addresses that others know this machine by."""

PYTHON = "/usr/bin/python3"
LISTEN = """
import os, socket, sys, threading
def serve(family, address, port):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, port))
    server.listen()
    while True:
        peer, _ = server.accept()
        line = peer.makefile().readline()
        if line: peer.sendall(ask(line).encode() + b"\\n")
        peer.close()
def ask(line):
    import json
    return json.dumps([reach(*one) for one in json.loads(line)])
def reach(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if kind == "listen":
        try: socket.create_server((address, port), family=family).close()
        except OSError as error: return os.strerror(error.errno)
        threading.Thread(target=serve, args=(family, address, port), daemon=True).start()
        return "ok"
    how = {"tcp": (1, 0), "multipath": (1, 262), "udp": (2, 0)}[kind]
    with socket.socket(family, *how) as one:
        one.settimeout(1.5)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            one.connect((address, port))
            if kind == "udp": one.send(b"x")
        except OSError as error: return error.strerror or str(error)
        return "ok"
"""
SERVE = (
    LISTEN
    + """
port = int(os.environ["PORT"])
threading.Thread(target=serve, args=(socket.AF_INET6, "::", port), daemon=True).start()
serve(socket.AF_INET, "0.0.0.0", port)
"""
)
TELL = LISTEN + "print(ask(sys.argv[1]))"
BUILDER = "nixbld1:x:30001:30000::/nonexistent:/usr/sbin/nologin\n"
BUILDERS = "nixbld:x:30000:nixbld1\n"
REFUSED = "Connection refused"
Target = tuple[str, str, int]


@pytest.mark.skipif(INSIDE, reason="boots the box")
def test_in_a_box() -> None:
    if shutil.which("nft") is None:
        missing("nftables is not installed")
    with tempfile.TemporaryDirectory(prefix="kennel-box-") as folder:
        try:
            with systemd_box(Path(folder), network="private") as box:
                here = Path(__file__).parents[2]
                run = f"{sys.executable} -m pytest -q -p no:cacheprovider"
                words = f"cd {here} && KENNEL_IN_BOX=1 exec {run} --basetemp=/var/test {__file__}"
                done = box.run(["sh", "-c", words], check=False, timeout=110)
        except NoBox as reason:
            missing(str(reason))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.fixture(scope="session")
def machine() -> None:
    """Give the machine addresses of its own, and a group that Nix builds as."""
    run("ip", "address", "add", f"{HERE}/32", "dev", "lo")
    run("ip", "address", "add", f"{HERE6}/128", "dev", "lo")
    if not nix_users():
        for file, line in (("passwd", BUILDER), ("group", BUILDERS)):
            with Path("/etc", file).open("a") as text:
                text.write(line)


def nix_users() -> Sequence[str]:
    try:
        return grp.getgrnam("nixbld").gr_mem
    except KeyError:
        return ()


@pytest.fixture
def others(machine: None) -> Iterator[None]:
    """Programs that are no services: a database, Caddy, its admin API, and Kennel itself."""
    listen = "\n".join(
        f"threading.Thread(target=serve, args=(socket.{family}, {address!r}, {port})).start()"
        for family, address in (("AF_INET", "0.0.0.0"), ("AF_INET6", "::"))
        for port in (DATABASE, WEB, PUBLIC, CADDY_ADMIN)
    )
    with subprocess.Popen([PYTHON, "-c", f"{LISTEN}\n{listen}"]) as process:
        yield
        process.kill()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_of(tmp_path)


def host_of(folder: Path, ports: range = PORTS) -> Host:
    for name in ("state", "run"):
        (folder / name).mkdir(parents=True)
    return Host(state_dir=folder / "state", run_dir=folder / "run", ports=ports)


@dataclass
class Town:
    """A supervisor and the services that it runs."""

    supervisor: SystemdSupervisor
    host: Host

    async def start(self, number: int) -> Unit:
        """Start a service on the port of that number. It is up when this returns."""
        unit = unit_on(self.host.ports[number], PYTHON, "-c", SERVE)
        await self.supervisor.ensure(unit, environment(unit))

        async def answers() -> bool:
            return reach(("tcp", "127.0.0.1", port_of(unit))) == ["ok"]

        await eventually(answers)
        return unit


@pytest.fixture
def opened(host: Host, others: None) -> Iterator[Any]:
    """Give what opens a supervisor with settings; what it ran is removed, and its table."""

    @asynccontextmanager
    async def opened(folder: Host = host, **settings: Any) -> AsyncIterator[Town]:
        config = SystemdConfig(restart_delay=0.1, stop_timeout=0.5, **settings)
        async with SystemdSupervisor(config, folder) as supervisor:
            yield Town(supervisor, folder)
            for unit in await supervisor.observe():
                await supervisor.remove(unit)

    yield opened
    run("nft", "flush", "ruleset")


@pytest.fixture
async def town(opened: Any) -> AsyncIterator[Town]:
    async with opened() as town:
        yield town


def run(*command: str, check: bool = True, text: str | None = None) -> str:
    done = subprocess.run(command, check=check, capture_output=True, text=True, input=text)
    return done.stdout


def unit_on(port: int, *command: str) -> Unit:
    return replace(unit_of(*command, name=f"s{port}"), port=port)


def port_of(unit: Unit) -> int:
    assert unit.port is not None
    return unit.port


def reach(*targets: Target, as_: Sequence[str] = ()) -> list[str]:
    """Return how it goes to reach targets, as root or as who is given."""
    answer: list[str] = json.loads(run(*as_, PYTHON, "-c", TELL, json.dumps(targets)))
    return answer


async def reach_from(unit: Unit, *targets: Target) -> list[str]:
    """Return how it goes for a service to reach targets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", unit.port)
    writer.write(json.dumps(targets).encode() + b"\n")
    answer: list[str] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


def everywhere(port: int, kind: str = "tcp") -> list[Target]:
    """Return every way that a port of this machine can be named."""
    addresses = ("127.0.0.1", "127.1.2.3", HERE, "0.0.0.0", "::1", HERE6, "::", "::ffff:127.0.0.1")
    return [(kind, address, port) for address in addresses]


async def reaches_itself(unit: Unit) -> bool:
    return await reach_from(unit, *everywhere(port_of(unit))) == ["ok"] * 8


@inside
class TestServices:
    async def test_reach_neither_each_other_nor_kennel_nor_caddys_admin(self, town: Town) -> None:
        one, other = await town.start(1), await town.start(2)
        for port in (port_of(other), WEB, CADDY_ADMIN):
            before = asyncio.get_running_loop().time()
            assert await reach_from(one, *everywhere(port)) == [REFUSED] * 8, port
            assert asyncio.get_running_loop().time() - before < 1, "at once, not in time"
        several: list[Target] = [("multipath", "127.0.0.1", port) for port in (PUBLIC, WEB)]
        assert await reach_from(one, *several) in (["ok", REFUSED], ["Protocol not supported"] * 2)

    async def test_reach_themselves_databases_and_what_the_world_reaches(self, town: Town) -> None:
        one, other = await town.start(1), await town.start(2)
        for unit in (one, other):
            await eventually(partial(reaches_itself, unit))
            for port in (DATABASE, PUBLIC):
                assert await reach_from(unit, *everywhere(port)) == ["ok"] * 8, port

    async def test_send_each_other_no_datagrams(self, town: Town) -> None:
        one = await town.start(1)
        ways = [*everywhere(PORTS[2], "udp"), ("udp", "127.255.255.255", PORTS[2])]
        assert set(await reach_from(one, *ways)) == {"Operation not permitted"}
        assert set(await reach_from(one, *everywhere(DATABASE, "udp"))) == {"ok"}

    async def test_are_reached_by_everybody_else(self, town: Town) -> None:
        ways = everywhere(port_of(await town.start(1)))
        somebody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
        assert reach(*ways) == ["ok"] * 8
        assert reach(*ways, as_=somebody) == ["ok"] * 8
        dynamic = ("systemd-run", "--quiet", "--wait", "--pipe", "--property=DynamicUser=yes")
        assert reach(*ways, as_=dynamic) == ["ok"] * 8, "another program with a user like a service"
        assert reach(*ways, as_=(*dynamic, "--slice=kennel.slice")) == [REFUSED] * 8

    async def test_are_told_apart_after_they_failed_and_after_kennel_was_restarted(
        self, opened: Any, host: Host
    ) -> None:
        async with SystemdSupervisor(SystemdConfig(), host) as first:
            unit = await Town(first, host).start(1)
        assert table_name(host.run_dir) in run("nft", "list", "tables"), "services go on"
        run("systemctl", "kill", "--signal=KILL", f"{unit.name}.service")
        async with opened() as town:
            other = await town.start(2)
            await eventually(partial(answers_to, unit, reaches_itself))
            assert await reach_from(unit, *everywhere(port_of(other))) == [REFUSED] * 8
            await town.supervisor.remove(unit.name)
            table = table_name(host.run_dir)

            async def forgotten() -> bool:
                return f". {unit.port}" not in run("nft", "list", "table", "inet", table)

            await eventually(forgotten)

    async def test_a_hundred_are_each_allowed_their_own(self, opened: Any, host: Host) -> None:
        async with opened() as town:
            units = [unit_on(port, "/bin/sleep", "300") for port in PORTS]
            await asyncio.gather(*(town.supervisor.ensure(unit, {}) for unit in units))
            table = table_name(host.run_dir)

            async def allowed() -> bool:
                text = run("nft", "list", "set", "inet", table, "own")
                return all(f" . {unit.port}" in text for unit in units)

            await eventually(allowed)


async def answers_to(unit: Unit, question: Callable[[Unit], Any]) -> bool:
    try:
        return bool(await question(unit))
    except OSError:
        return False


@inside
class TestListening:
    async def test_who_takes_anothers_port_is_not_heard(self, town: Town) -> None:
        taken = PORTS[5]
        one = await town.start(1)
        assert await reach_from(one, ("listen", "0.0.0.0", taken)) == ["ok"]
        assert await reach_from(one, ("listen", "::", taken)) == ["ok"]
        answers = [("tcp", "127.0.0.1", taken), ("tcp", HERE, taken), ("tcp", "::1", taken)]

        async def silent() -> bool:
            return reach(*answers) == ["timed out"] * 3

        await eventually(silent)
        assert reach(*everywhere(port_of(one))) == ["ok"] * 8, "its own port answers all the while"
        assert await reach_from(one, ("listen", "127.0.0.1", 8888)) == ["ok"]
        assert reach(("tcp", "127.0.0.1", 8888)) == ["ok"], "and so does what is nobody's"

    async def test_nor_is_a_worker_that_does(self, town: Town) -> None:
        taken = PORTS[6]
        serve = f"{LISTEN}\nserve(socket.AF_INET, '127.0.0.1', {taken})"
        worker = replace(unit_of(PYTHON, "-c", serve), port=None)
        await town.supervisor.ensure(worker, environment(worker))

        async def silent() -> bool:
            return reach(("tcp", "127.0.0.1", taken)) == ["timed out"]

        await eventually(silent)

    async def test_other_programs_may_listen_there(self, town: Town) -> None:
        await town.start(1)
        code = f"{LISTEN}\nserve(socket.AF_INET, '127.0.0.1', {PORTS[9]})"
        dynamic = ("--property=DynamicUser=yes", "--unit=foreign", "--quiet")
        run("systemd-run", *dynamic, PYTHON, "-c", code)

        async def answers() -> bool:
            return reach(("tcp", "127.0.0.1", PORTS[9])) == ["ok"]

        await eventually(answers)
        run("systemctl", "stop", "foreign")

    async def test_cannot_even_listen_where_systemd_can_see_to_it(self, opened: Any) -> None:
        async with opened(own_port_only=True) as town:
            one = await town.start(1)
            seen = run("systemctl", "show", f"{one.name}.service", "--property=SocketBindDeny")
            assert f"{PORTS.start}-{PORTS.stop - 1}" in seen
            taken: list[Target] = [("listen", address, PORTS[5]) for address in ("0.0.0.0", "::")]
            if "+BPF_FRAMEWORK" in run("systemctl", "--version"):
                assert await reach_from(one, *taken) == ["Operation not permitted"] * 2
            free: list[Target] = [("listen", "127.0.0.1", port) for port in (0, 8999)]
            assert await reach_from(one, *free) == ["ok"] * 2
            assert await reach_from(one, *everywhere(PUBLIC)) == ["ok"] * 8


@inside
class TestBuilds:
    async def test_reach_no_services(self, town: Town) -> None:
        unit = await town.start(1)
        sandbox = Sandbox(hidden=(), memory_max=None, timeout=60)
        ways = [*everywhere(port_of(unit)), *everywhere(WEB)]
        command = (PYTHON, "-c", TELL, json.dumps(ways))
        words = sandbox.wrap("kennel-build-1-1", command, env={}, reach=Reach())
        assert json.loads(run(*words)) == [REFUSED] * 16
        again = sandbox.wrap(
            "kennel-build-1-2",
            (PYTHON, "-c", TELL, json.dumps(everywhere(PUBLIC))),
            env={},
            reach=Reach(),
        )
        assert json.loads(run(*again)) == ["ok"] * 8

    async def test_those_of_nix_reach_none_either(self, town: Town) -> None:
        unit = await town.start(1)
        builder = ("setpriv", f"--reuid={nix_users()[0]}", "--regid=nixbld", "--clear-groups")
        ways = [*everywhere(port_of(unit)), *everywhere(WEB)]
        assert reach(*ways, as_=builder) == [REFUSED] * 16
        assert reach(*everywhere(DATABASE), as_=builder) == ["ok"] * 8


@inside
class TestSettings:
    async def test_closed_leaves_names_urls_and_what_is_listed(self, opened: Any) -> None:
        async with opened(local_ports="closed", allow_local_ports=(5433,)) as town:
            one = await town.start(1)
            await eventually(partial(reaches_itself, one))
            assert await reach_from(one, *everywhere(DATABASE)) == [REFUSED] * 8
            assert await reach_from(one, *everywhere(PUBLIC)) == ["ok"] * 8
            assert await reach_from(one, ("udp", "127.0.0.1", 53)) == ["ok"]
            assert await reach_from(one, ("udp", "127.0.0.1", 5353)) == ["Operation not permitted"]
        async with opened(local_ports="closed", allow_local_ports=(DATABASE,)) as town:
            one = await town.start(1)
            assert await reach_from(one, *everywhere(DATABASE)) == ["ok"] * 8

    async def test_a_port_among_those_of_services_may_be_allowed(self, opened: Any) -> None:
        async with opened(allow_local_ports=(PORTS[7],)) as town:
            one, _ = await town.start(1), await town.start(7)
            assert await reach_from(one, *everywhere(PORTS[7])) == ["ok"] * 8

    async def test_more_may_be_denied(self, opened: Any) -> None:
        async with opened(deny_local_ports=(DATABASE,)) as town:
            one = await town.start(1)
            assert await reach_from(one, *everywhere(DATABASE)) == [REFUSED] * 8
            assert await reach_from(one, *everywhere(CADDY_ADMIN)) == ["ok"] * 8

    async def test_services_among_other_programs_are_refused_all_the_same(
        self, opened: Any
    ) -> None:
        async with opened(slice="system-kennel.slice") as town:
            one, other = await town.start(1), await town.start(2)
            assert await reach_from(one, *everywhere(port_of(other))) == [REFUSED] * 8

    async def test_off_takes_the_table_away_and_no_other(self, opened: Any, host: Host) -> None:
        async with SystemdSupervisor(SystemdConfig(), host) as first:
            one, other = [await Town(first, host).start(number) for number in (1, 2)]
        run("nft", "add", "table", "inet", "mine")
        async with opened(firewall="off") as town:
            await town.supervisor.check()
            assert run("nft", "list", "tables").split() == ["table", "inet", "mine"]
            assert await reach_from(one, *everywhere(port_of(other))) == ["ok"] * 8

    async def test_two_kennels_do_not_undo_each_other(
        self, opened: Any, host: Host, tmp_path: Path
    ) -> None:
        second = host_of(tmp_path / "second", range(21000, 21100))
        async with AsyncExitStack() as stack:
            town = await stack.enter_async_context(opened())
            guest = await stack.enter_async_context(opened(second))
            one, other = await town.start(1), await town.start(2)
            far = await guest.start(1)
            for unit in (one, other, far):
                await eventually(partial(reaches_itself, unit))
            for unit, port in ((one, other.port), (one, far.port), (far, one.port)):
                assert await reach_from(unit, *everywhere(port)) == [REFUSED] * 8
            await guest.supervisor.remove(far.name)


@inside
class TestTable:
    @pytest.mark.parametrize(
        "harm",
        [
            ("flush", "ruleset"),
            ("delete", "table", "inet", "TABLE"),
            ("flush", "chain", "inet", "TABLE", "refused"),
            ("flush", "set", "inet", "TABLE", "closed"),
        ],
        ids=lambda harm: f"{harm[0]} {harm[1]}",
    )
    async def test_is_mended_by_itself(
        self,
        town: Town,
        host: Host,
        harm: Sequence[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        one, other = await town.start(1), await town.start(2)
        await eventually(partial(reaches_itself, one))
        run("nft", *(word.replace("TABLE", table_name(host.run_dir)) for word in harm))

        async def mended() -> bool:
            return await reach_from(one, *everywhere(port_of(other))) == [REFUSED] * 8

        await eventually(mended)
        await eventually(partial(reaches_itself, one))
        assert any("written again" in record.message for record in caplog.records)

    async def test_is_mended_by_a_check(self, town: Town) -> None:
        one, other = await town.start(1), await town.start(2)
        run("nft", "flush", "ruleset")
        await town.supervisor.check()
        assert await reach_from(one, *everywhere(port_of(other))) == [REFUSED] * 8

    async def test_nothing_is_asked_of_nft_while_nothing_happens(
        self, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls, counting = tmp_path / "calls", tmp_path / "nft"
        counting.write_text(f'#!/bin/sh\necho >>{calls}\nexec {shutil.which("nft")} "$@"\n')
        counting.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        async with opened() as town:
            await town.start(1)
            await asyncio.sleep(1)
            before = calls.read_text()
            for _ in range(20):
                await town.supervisor.observe()
            await asyncio.sleep(1)
            assert calls.read_text() == before
            assert before.count("\n") < 12, "and not much while something does"

    async def test_goes_when_kennel_stops_and_nothing_runs(self, opened: Any) -> None:
        async with opened() as town:
            await town.start(1)
        assert run("nft", "list", "tables") == ""

    async def test_takes_no_connection_tracking(self, town: Town) -> None:
        await town.start(1)
        assert " ct " not in run("nft", "list", "ruleset")


@inside
class TestWithoutNft:
    @pytest.fixture
    def without(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("kennel.builtin.systemd.nft.SBIN", ())

    async def test_auto_goes_on_and_says_what_is_not_kept_apart(
        self, without: None, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with SystemdSupervisor(SystemdConfig(), host) as supervisor:
            [said] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
            assert "not kept from each other's ports" in said
            assert "apt-get install nftables" in said
            with pytest.raises(Rejected, match="nft is not installed"):
                await supervisor.check()

    async def test_a_check_finds_it_once_it_is_there(self, machine: None, host: Host) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", "/nowhere")
            patch.setattr("kennel.builtin.systemd.nft.SBIN", ())
            supervisor = await SystemdSupervisor(SystemdConfig(), host).__aenter__()
        await supervisor.check()
        assert table_name(host.run_dir) in run("nft", "list", "tables")
        await supervisor.__aexit__(None, None, None)

    async def test_required_does_not_start(self, without: None, host: Host) -> None:
        with pytest.raises(Rejected, match=r'firewall = "required": nft is not installed'):
            await SystemdSupervisor(SystemdConfig(firewall="required"), host).__aenter__()

    async def test_required_starts_nothing_while_there_is_no_table(
        self, opened: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        async with opened(firewall="required") as town:
            broken = tmp_path / "nft"
            broken.write_text("#!/bin/sh\necho 'Error: it is broken' >&2\nexit 1\n")
            broken.chmod(0o755)
            monkeypatch.setattr(town.supervisor._firewall, "_program", str(broken))
            with pytest.raises(Rejected, match="it is broken"):
                await town.supervisor.check()
            with pytest.raises(Unavailable, match="it is broken"):
                await town.start(1)

    async def test_without_the_right_to_change_rules(self, host: Host) -> None:
        script = (
            "import asyncio, sys; from pathlib import Path\n"
            "from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor\n"
            "from kennel.plugin.settings import Host\n"
            "async def run():\n"
            "    host = Host(state_dir=Path(sys.argv[1]), run_dir=Path(sys.argv[1]))\n"
            "    async with SystemdSupervisor(SystemdConfig(), host) as supervisor:\n"
            "        try: await supervisor.check()\n"
            "        except Exception as error: print(type(error).__name__, error)\n"
            "asyncio.run(run())"
        )
        fewer = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        told = run(*fewer, sys.executable, "-c", script, str(host.run_dir))
        assert told.startswith("Rejected services are not kept from each other's ports")
        assert "Run Kennel as root or with CAP_NET_ADMIN" in told

    async def test_another_machines_systemd_is_left_to_its_own_rules(
        self, machine: None, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        bus = "unix:path=/run/dbus/system_bus_socket"
        async with SystemdSupervisor(SystemdConfig(bus=bus), host) as supervisor:
            await supervisor.check()
            assert run("nft", "list", "tables") == ""
            assert 'Set firewall = "required" if it is this one' in caplog.text


class TestRules:
    def test_what_contradicts_itself_is_refused(self, tmp_path: Path) -> None:
        host = Host(state_dir=tmp_path, run_dir=tmp_path)
        for table, why in (
            ({"allow_local_ports": [2019]}, "2019 is in deny_local_ports as well"),
            ({"dynamic_users": "70000-60000"}, "ends before it begins"),
            ({"dynamic_users": "kennel"}, "must be written like"),
            ({"allow_local_ports": [0]}, "allow_local_ports"),
            ({"firewall": "on"}, "firewall"),
        ):
            with pytest.raises(ConfigError, match=why):
                list(kennel_supervisors(PluginSettings({"systemd": table}, host)))

    def test_each_kennel_has_a_table_of_its_own(self) -> None:
        assert table_name(Path("/run/kennel")) != table_name(Path("/run/other"))
