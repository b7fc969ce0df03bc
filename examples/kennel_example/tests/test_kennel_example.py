"""The plugin's whole conformance suite, and what is its own."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kennel_example import SqliteProvisioner, kennel_provisioners

from kennel.domain import Env, Ref, Tenant
from kennel.errors import ConfigError, Rejected
from kennel.plugin import PluginSettings, Provisioner
from kennel.plugin.manager import Plugins
from kennel.plugin.settings import Host
from kennel.testing import MakeProvisioner, ProvisionerContract

ADA = Tenant("lovelace", Ref.branch("main"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sqlite"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


class TestSqlite(ProvisionerContract):
    folder: Path

    @pytest.fixture
    def make_provisioner(self, folder: Path) -> MakeProvisioner:
        self.folder = folder
        return lambda: SqliteProvisioner(folder)

    def inventory(self) -> set[str]:
        index = {"index.db", "index.db-journal"}
        return {p.name for p in self.folder.glob("*") if p.name not in index}

    def make_foreign(self) -> None:
        self.folder.mkdir(exist_ok=True)
        foreign = self.folder / ("0" * 32)
        foreign.mkdir()
        (foreign / "data.db").touch()

    def unreachable(self) -> Provisioner:
        return SqliteProvisioner(Path("/dev/null/sqlite"))

    def put(self, env: Env, text: str) -> None:
        with closing(sqlite3.connect(env["DATABASE_PATH"].value)) as database, database:
            database.execute("CREATE TABLE words (word)")
            database.execute("INSERT INTO words VALUES (?)", (text,))

    def get(self, env: Env) -> str | None:
        with closing(sqlite3.connect(env["DATABASE_PATH"].value)) as database:
            if not database.execute("SELECT name FROM sqlite_schema").fetchall():
                return None
            word: str = database.execute("SELECT word FROM words").fetchone()[0]
            return word


async def test_nobody_can_list_the_folder_and_anybody_can_write_the_file(folder: Path) -> None:
    env = await SqliteProvisioner(folder).ensure(ADA, {})
    file = Path(env["DATABASE_PATH"].value)
    assert folder.stat().st_mode & 0o777 == 0o711
    assert (folder / "index.db").stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o777
    assert file.stat().st_mode & 0o777 == 0o666
    assert len(file.parent.name) == 32


async def test_what_a_service_puts_in_its_folder_is_not_followed(folder: Path) -> None:
    env = await SqliteProvisioner(folder).ensure(ADA, {})
    file = Path(env["DATABASE_PATH"].value)
    victim = folder / "victim"
    victim.touch(mode=0o600)
    file.unlink()
    file.symlink_to(victim)
    assert await SqliteProvisioner(folder).ensure(ADA, {}) == env
    assert victim.stat().st_mode & 0o777 == 0o600
    assert victim.stat().st_size == 0
    await SqliteProvisioner(folder).remove(ADA)
    assert victim.exists()


@pytest.mark.parametrize(("options", "mode"), [({}, "wal"), ({"journal": "delete"}, "delete")])
async def test_the_journal_is_as_it_was_asked_for(
    folder: Path, options: dict[str, object], mode: str
) -> None:
    env = await SqliteProvisioner(folder).ensure(ADA, options)
    with closing(sqlite3.connect(env["DATABASE_PATH"].value)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == (mode,)


async def test_an_option_with_a_wrong_value(folder: Path) -> None:
    with pytest.raises(Rejected, match='it takes journal = "wal"'):
        await SqliteProvisioner(folder).ensure(ADA, {"journal": "off"})


def test_it_is_installed(host: Host) -> None:
    settings = PluginSettings({"example": {}}, host)
    (found,) = [p for p in Plugins.discover().listing(settings) if p.name == "example"]
    assert (found.package, found.kinds, found.on) == ("kennel-example", ("provisioner",), True)


def test_it_reads_its_table(host: Host, folder: Path) -> None:
    assert list(kennel_provisioners(PluginSettings({}, host))) == []
    for table in ({}, {"folder": str(folder)}):
        (offered,) = kennel_provisioners(PluginSettings({"example": table}, host))
        assert offered.name == "sqlite"
    with pytest.raises(ConfigError, match=r"\[plugins.example\]: unknown key 'dir'"):
        kennel_provisioners(PluginSettings({"example": {"dir": "x"}}, host))
