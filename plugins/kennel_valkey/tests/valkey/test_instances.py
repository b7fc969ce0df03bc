"""A server of its own for each tenant, as units of a supervisor's."""

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio
from kennel_valkey import InstanceProvisioner, kennel_provisioners
from kennel_valkey.instances import OVERHEAD
from valkey import exceptions

from kennel.builtin.process import ProcessConfig, ProcessSupervisor
from kennel.domain import Env, Key, Ref, Tenant, UnitState, names
from kennel.errors import ConfigError, Rejected, Unavailable
from kennel.plugin import PluginSettings, Provisioner, Supervisor
from kennel.plugin.settings import Host
from kennel.testing import (
    MakeProvisioner,
    MemorySupervisor,
    NoBox,
    ProvisionerContract,
    systemd_box,
)
from kennel.testing.missing import missing
from kennel.testing.probe import eventually
from kennel.testing.valkey import Release, program
from kennel.testing.valkey_client import line, opened, url_of

ON_SYSTEMD = Path(__file__).with_name("on_systemd.py")
ADA = Tenant("lovelace", Ref.branch("main"))
BOB = Tenant("lovelace", Ref.pull_request(42))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return where sockets are to be: pytest's own folders are too long for them."""
    above = Path(tempfile.mkdtemp(prefix="kvi"))
    yield above / "sockets"
    shutil.rmtree(above)


@pytest_asyncio.fixture
async def supervisor(host: Host) -> AsyncIterator[Supervisor]:
    async with ProcessSupervisor(ProcessConfig(), host) as supervisor:
        yield supervisor


def made(host: Host, supervisor: Supervisor, **settings: object) -> InstanceProvisioner:
    table = {"isolation": "instance", **settings}
    (provisioner,) = kennel_provisioners(PluginSettings({"valkey": table}, host))
    assert isinstance(provisioner, InstanceProvisioner)
    provisioner.use(supervisor)
    return provisioner


@pytest_asyncio.fixture
async def valkey(
    release: Release, host: Host, folder: Path, supervisor: Supervisor
) -> AsyncIterator[InstanceProvisioner]:
    where = {"program": str(program(release)), "instance_dir": str(folder)}
    async with made(host, supervisor, **where) as provisioner:
        yield provisioner


class TestContract(ProvisionerContract):
    host: Host
    folder: Path
    units: ClassVar[set[str]]

    @pytest.fixture(params=["valkey-8"])
    def release(self, request: pytest.FixtureRequest) -> Release:
        release: Release = request.param
        return release

    @pytest.fixture(autouse=True)
    def scene(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder

    @pytest.fixture
    def make_provisioner(self, release: Release, supervisor: Supervisor) -> MakeProvisioner:
        where = {"program": str(program(release)), "instance_dir": str(self.folder)}
        return lambda: made(self.host, supervisor, **where)

    def inventory(self) -> set[str]:
        book = self.host.state_dir / "valkey" / "instances.json"
        entries = json.loads(book.read_text())["tenants"] if book.exists() else {}
        return {file.name for file in self.folder.glob("*")} | set(entries)

    def make_foreign(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "0123456789abcdef0123456789abcdef.sock").touch()

    def unreachable(self) -> Provisioner:
        supervisor = MemorySupervisor()
        supervisor.problem = Unavailable("systemd does not answer")
        return made(self.host, supervisor, instance_dir=str(self.folder), program="/bin/true")

    def put(self, env: Env, text: str) -> None:
        with opened(url_of(env)) as client:
            client.execute_command("SET", "word", text)

    def get(self, env: Env) -> str | None:
        with opened(url_of(env)) as client:
            word: str | None = client.execute_command("GET", "word")
            return word


async def test_each_has_a_server_that_the_other_does_not_get_into(
    valkey: InstanceProvisioner, folder: Path
) -> None:
    ada, bob = [url_of(await valkey.ensure(tenant, {})) for tenant in (ADA, BOB)]
    place = bob.partition("@")[2]
    own = ada.partition("//")[2].partition("@")[0]
    with line(bob) as victim, line(ada) as mallory:
        victim.say("SET", "word", "his")
        assert mallory.say("FLUSHALL") == "OK"
        for words in (
            "CONFIG SET dir /",
            "MODULE LIST",
            "SHUTDOWN",
            "ACL LIST",
            "REPLICAOF x 1",
            "MONITOR",
        ):
            assert isinstance(mallory.say(*words.split()), exceptions.NoPermissionError), words
        for login in ("", f"{own}@", "default:@", f"kennel_lovelace_pr-42:{own[-64:]}@"):
            assert gets_in(f"unix://{login}{place}") is False, login
        assert victim.say("GET", "word") == "his"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1733, "others enter, and do not list"
    names_of = [file.name for file in folder.iterdir()]
    assert len(names_of) == 2
    assert all(len(name) == 32 + len(".sock") for name in names_of)


def gets_in(url: str) -> bool:
    try:
        with line(url) as somebody:
            return bool(somebody.say("GET", "word") == "his")
    except exceptions.ValkeyError:
        return False


async def test_no_secret_is_in_the_words_of_a_command(valkey: InstanceProvisioner) -> None:
    url = url_of(await valkey.ensure(ADA, {}))
    password, _, place = url.partition("//")[2].partition(":")[2].partition("@")
    socket = place.partition("?")[0]
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = found.read_text(errors="replace")
        except OSError:
            continue
        assert password not in words
        assert socket not in words


async def test_memory_is_its_own_and_limited(
    valkey: InstanceProvisioner, supervisor: Supervisor
) -> None:
    env = await valkey.ensure(ADA, {"memory": "2M"})
    with line(url_of(env)) as full:
        answers = [full.say("SET", f"key{number}", "x" * 100_000) for number in range(50)]
        assert "OK" in answers[:3]
        assert "used memory > 'maxmemory'" in str(answers[-1])
    (other,) = [await valkey.ensure(BOB, {})]
    with line(url_of(other)) as roomy:
        assert {roomy.say("SET", f"key{number}", "x" * 100_000) for number in range(50)} == {"OK"}
    sizes = {one.tenant: one.size for one in await valkey.resources()}
    assert 1_000_000 < (sizes[ADA] or 0) < 4_000_000 < (sizes[BOB] or 0)
    with pytest.raises(Rejected, match=r"memory = '1G' is more than 256M.*instance_memory_max"):
        await valkey.ensure(ADA, {"memory": "1G"})
    assert len(await supervisor.observe()) == 2


async def test_another_size_is_another_server_and_the_old_one_goes(
    valkey: InstanceProvisioner, supervisor: Supervisor
) -> None:
    before = await valkey.ensure(ADA, {})
    (old,) = await supervisor.observe()
    assert await valkey.ensure(ADA, {"memory": "8M"}) == before
    (new,) = await supervisor.observe()
    assert new != old
    assert await valkey.lacking({ADA}) == set()
    await valkey.remove(ADA)
    assert await supervisor.observe() == {}


async def test_one_that_ended_is_lacking_and_comes_back(
    valkey: InstanceProvisioner, supervisor: Supervisor
) -> None:
    env = await valkey.ensure(ADA, {})
    (unit,) = await supervisor.observe()
    await supervisor.remove(unit)
    assert await valkey.lacking({ADA}) == {ADA}
    assert await valkey.observe() == {ADA}
    assert await valkey.ensure(ADA, {}) == env
    assert await valkey.lacking({ADA}) == set()


async def test_one_that_is_killed_is_started_again_by_the_supervisor(
    valkey: InstanceProvisioner, supervisor: Supervisor
) -> None:
    with line(url_of(await valkey.ensure(ADA, {}))) as client:
        pid = int(str(client.say("INFO", "server")).partition("process_id:")[2].split()[0])
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        with opened(url_of(await valkey.ensure(ADA, {}))) as client:
            info = str(client.execute_command("INFO", "server"))
            return f"process_id:{pid}\r" not in info

    await eventually(is_back)
    (status,) = (await supervisor.observe()).values()
    assert status.state is UnitState.RUNNING


async def test_one_of_another_key_is_replaced(
    valkey: InstanceProvisioner, host: Host, supervisor: Supervisor
) -> None:
    before = await valkey.ensure(ADA, {})
    (host.state_dir / "valkey" / "key").write_text("another key, which is not short either\n")
    after = await valkey.ensure(ADA, {})
    assert after != before
    with opened(url_of(after)) as client:
        assert client.execute_command("PING") == "PONG"
    assert len(await supervisor.observe()) == 1


async def test_its_unit_is_called_like_no_services(
    valkey: InstanceProvisioner, supervisor: Supervisor
) -> None:
    await valkey.ensure(ADA, {})
    (unit,) = await supervisor.observe()
    generation = unit.split("--")[-2]
    assert unit != names.unit(Key(ADA, "valkey"), generation)
    assert unit != names.unit(Key(ADA, "valkey-resource"), generation)


class TestUnit:
    async def test_its_limit_leaves_room_for_the_server(self, host: Host, folder: Path) -> None:
        supervisor = MemorySupervisor()
        async with made(host, supervisor, instance_dir=str(folder)) as valkey:
            task = asyncio.create_task(valkey.ensure(ADA, {"memory": "64M"}))
            while not supervisor.host.units:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        (unit,) = supervisor.host.units.values()
        assert unit.unit.limits.memory_max == 96 * 2**20 + OVERHEAD
        assert unit.unit.port is None
        words = " ".join(unit.unit.command)
        assert not [name for name, secret in unit.env.items() if secret.value in words]
        for name in list(supervisor.host.units):
            await supervisor.remove(name)


class TestFolder:
    @pytest.mark.parametrize("kind", ["link", "file", "another user's"])
    async def test_one_that_is_not_kennels(
        self, host: Host, folder: Path, tmp_path: Path, kind: str
    ) -> None:
        if kind == "link":
            folder.symlink_to(tmp_path)
        elif kind == "file":
            folder.touch()
        elif os.geteuid() == 0:
            folder.mkdir()
            os.chown(folder, 1, 1)
        else:
            folder = Path("/usr")
        valkey = made(host, MemorySupervisor(), instance_dir=str(folder), program="/bin/true")
        for question in (valkey.check, lambda: valkey.ensure(ADA, {})):
            with pytest.raises(Rejected, match="is not Kennel's own folder"):
                await question()

    async def test_one_whose_path_is_too_long(self, host: Host) -> None:
        long = "/tmp/" + 66 * "x"
        valkey = made(host, MemorySupervisor(), instance_dir=long, program="/bin/true")
        for question in (valkey.check, lambda: valkey.ensure(ADA, {})):
            with pytest.raises(Rejected, match="too long for the path of a socket"):
                await question()


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"url": "env:X"}, r"url: it is for isolation = .database."),
        ({"reserved": [1]}, "reserved: it is for isolation"),
        ({"instance_memory": "1G"}, "more than instance_memory_max"),
        ({"instance_memory": "lots"}, "instance_memory"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit(host: Host, table: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        made(host, MemorySupervisor(), **table)


async def test_without_a_program_it_says_so(host: Host) -> None:
    valkey = made(host, MemorySupervisor(), program="/nowhere/valkey-server")
    with pytest.raises(Rejected, match="no program /nowhere/valkey-server: install valkey"):
        await valkey.check()


@pytest.mark.host
def test_on_systemd_only_its_own_services_know_where_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    place = "/usr/local/bin/valkey-server"
    try:
        with systemd_box(tmp_path / "box") as box:
            box.run(["install", "-m", "755", str(program("valkey-8")), place])
            done = box.run([sys.executable, str(ON_SYSTEMD), "/var/lib/kennel-test", place])
    except NoBox as reason:
        missing(str(reason))
    told = json.loads(done.stdout)
    assert told["its own service"] == [
        "+OK\r\n+PONG\r\n",
        "-NOAUTH Authentication required.\r\n",
        "Permission denied",  # to list the folder of sockets
    ]
    assert told["shown"] == [], "neither socket nor password, in properties or command lines"
    assert told["memory"] == [str(96 * 2**20 + OVERHEAD)] * 2
    assert len(set(told["users"])) == 2
    assert told["socket"][0]
    assert told["left"] == told["units left"] == []
