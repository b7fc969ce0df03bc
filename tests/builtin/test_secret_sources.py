"""The sources that ship with Kennel keep the contract, and reach nothing else."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Self

import pytest

from kennel.builtin.environment import EnvironmentConfig, EnvironmentSource
from kennel.builtin.file import FileConfig, FileSource
from kennel.domain import Reference, Secret
from kennel.errors import Rejected
from kennel.plugin import PluginSettings, SecretSource
from kennel.plugin.manager import Plugins
from kennel.plugin.settings import Host
from kennel.testing.secret_source import Kept, MakeSecretSource, SecretSourceContract

CONFIG = EnvironmentConfig(prefix="TEST_SECRET")


class Filled(FileSource):
    """Has its files when it is opened: to write them blocks."""

    def __init__(self, folder: Path, kept: Kept) -> None:
        super().__init__(FileConfig(folder=folder))
        self._files = {
            folder / project / profile / name: value
            for (project, profile), values in kept.items()
            for name, value in values.items()
        }

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._fill)
        return self

    def _fill(self) -> None:
        shutil.rmtree(self._folder)
        for path, value in self._files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value)


class TestFileSource(SecretSourceContract):
    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSecretSource:
        return lambda kept: Filled(tmp_path, kept)

    def unreachable(self) -> SecretSource:
        return FileSource(FileConfig(folder=Path("/nonexistent/secrets")))


class TestEnvironmentSource(SecretSourceContract):
    @pytest.fixture
    def make_source(self, monkeypatch: pytest.MonkeyPatch) -> MakeSecretSource:
        def make(kept: Kept) -> SecretSource:
            source = EnvironmentSource(CONFIG)
            for name in [one for one in os.environ if one.startswith(CONFIG.prefix)]:
                monkeypatch.delenv(name)
            for (project, profile), values in kept.items():
                for name, value in values.items():
                    monkeypatch.setenv(source.place(project, profile, name), value)
            return source

        return make


async def test_an_editors_newline_is_no_part_of_a_value(tmp_path: Path) -> None:
    source = FileSource(FileConfig(folder=tmp_path))
    (tmp_path / "shop/prod").mkdir(parents=True)
    (tmp_path / "shop/prod/KEY").write_text("k\n\n")
    assert await source.resolve("shop", "prod", ["KEY"]) == {"KEY": Secret("k\n")}
    assert source.place("shop", "prod", "KEY") == f"{tmp_path}/shop/prod/KEY"


async def test_what_is_shared_is_read_by_its_path(tmp_path: Path) -> None:
    source = FileSource(FileConfig(folder=tmp_path / "inside"))
    (tmp_path / "inside/shared/smtp").mkdir(parents=True)
    (tmp_path / "inside/shared/smtp/password").write_text("mail")
    (tmp_path / "outside").write_text("no")
    there = Reference(item="shared/smtp", field="password")
    wanted = [there, Reference(item="shared/smtp"), Reference(item="..", field="outside")]
    assert await source.shared("shop", "prod", wanted) == {there: Secret("mail")}


@pytest.mark.parametrize("problem", ["bytes", "folder"])
async def test_what_cannot_be_read_is_not_missing(tmp_path: Path, problem: str) -> None:
    source = FileSource(FileConfig(folder=tmp_path))
    (tmp_path / "shop/prod").mkdir(parents=True)
    if problem == "bytes":
        (tmp_path / "shop/prod/KEY").write_bytes(b"\xff\xfe")
    else:
        (tmp_path / "shop/prod/KEY").symlink_to("KEY")  # it leads to itself
    with pytest.raises(Rejected, match="KEY: "):
        await source.resolve("shop", "prod", ["KEY"])


async def test_no_other_variable_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAO_TOKEN", "hunter2")
    source = EnvironmentSource(CONFIG)
    assert await source.resolve("shop", "prod", ["BAO_TOKEN", "../BAO_TOKEN"]) == {}
    with pytest.raises(Rejected, match="use another source"):
        await source.resolve("shop--prod", "prod", ["X"])
    with pytest.raises(Rejected, match="has nothing that projects share"):
        await source.shared("shop", "prod", [Reference(item="shared/smtp")])


def test_each_is_on_where_kennel_toml_says_so(tmp_path: Path) -> None:
    host = Host(state_dir=tmp_path, run_dir=tmp_path)
    tables = {"file": {"folder": str(tmp_path)}, "environment": {}}
    ports = Plugins.discover().ports(PluginSettings(tables, host))
    assert sorted(ports.secret_sources) == ["environment", "file"]
    assert not Plugins.discover().ports(PluginSettings({}, host)).secret_sources
