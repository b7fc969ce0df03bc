"""The Cachix plugin, on a program that has cachix's interface: the real one needs cachix.org."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from kennel.builtin.cachix import CachixCache, CachixConfig, kennel_caches
from kennel.errors import ConfigError, Rejected, Unavailable
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host
from kennel.testing.cache import CacheContract, MemoryCache

TOKEN = "eyJhbGciOiJIUzI1NiJ9.a-token-for-tests"

# Stands in for cachix: `cachix push [--jobs N] CACHE`, paths on stdin, CACHIX_AUTH_TOKEN.
STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, sys, time
folder = pathlib.Path(__file__).parent
with open(folder / "calls", "a") as calls:
    call = {{"argv": sys.argv, "env": dict(os.environ)}}
    calls.write(json.dumps(call) + "\\n")
if os.environ.get("CACHIX_AUTH_TOKEN") != (folder / "token").read_text():
    print("cachix: 401 Unauthorized:", os.environ.get("CACHIX_AUTH_TOKEN"), file=sys.stderr)
    sys.exit(1)
if (folder / "away").exists():
    print("HttpExceptionRequest: ConnectionTimeout", file=sys.stderr)
    sys.exit(1)
if (folder / "slow").exists():
    time.sleep(600)
with open(folder / sys.argv[-1], "a") as cache:
    cache.write(sys.stdin.read())
"""


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cachix").write_text(STAND_IN)
    (folder / "cachix").chmod(0o755)
    (folder / "token").write_text(TOKEN)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return folder


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


def config(bin_folder: Path, **more: object) -> CachixConfig:
    token = f"file:{bin_folder.parent}/token"
    return CachixConfig(
        cache="acme",
        token=token,
        program=str(bin_folder / "cachix"),
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def cache(bin_folder: Path, host: Host) -> CachixCache:
    return CachixCache(config(bin_folder), host)


class TestCachix(CacheContract):
    @pytest.fixture(autouse=True)
    def remember(self, bin_folder: Path, host: Host) -> None:
        self.bin, self.host = bin_folder, host

    @pytest.fixture
    def cache(self, bin_folder: Path, host: Host) -> CachixCache:
        return CachixCache(config(bin_folder), host)

    def inventory(self) -> set[str]:
        file = self.bin / "acme"
        return set(file.read_text().split()) if file.exists() else set()

    def unreachable(self) -> CachixCache:
        (self.bin / "away").touch()
        return CachixCache(config(self.bin), self.host)


class TestMemory(CacheContract):
    @pytest.fixture
    def cache(self) -> MemoryCache:
        self.memory = MemoryCache()
        return self.memory

    def inventory(self) -> set[str]:
        return self.memory.paths

    def unreachable(self) -> MemoryCache:
        cache = MemoryCache()
        cache.problem = Unavailable("away")
        return cache


async def test_the_token_is_in_the_environment_of_cachix_and_nowhere_else(
    cache: CachixCache, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "of Kennel itself")
    async with cache:
        await cache.push(["/nix/store/x"])
    call = json.loads((bin_folder / "calls").read_text())
    assert TOKEN not in str(call["argv"])
    assert call["env"]["CACHIX_AUTH_TOKEN"] == TOKEN
    assert "VAULT_TOKEN" not in call["env"]
    assert "CACHIX_AUTH_TOKEN" not in os.environ


async def test_a_refused_token_is_for_the_operator_and_is_not_quoted(
    cache: CachixCache, bin_folder: Path
) -> None:
    (bin_folder / "token").write_text("another one")
    async with cache:
        with pytest.raises(Rejected, match="401") as raised:
            await cache.push(["/nix/store/x"])
    assert TOKEN not in str(raised.value)


async def test_a_server_that_is_away_may_come_back(cache: CachixCache, bin_folder: Path) -> None:
    (bin_folder / "away").touch()
    async with cache:
        with pytest.raises(Unavailable, match=r"acme.*ConnectionTimeout"):
            await cache.push(["/nix/store/x"])


async def test_a_push_that_takes_too_long_is_ended(bin_folder: Path, host: Host) -> None:
    (bin_folder / "slow").touch()
    async with CachixCache(config(bin_folder, timeout=0.5), host) as cache:
        with pytest.raises(Unavailable, match=r"longer than 0\.5 s"):
            await cache.push(["/nix/store/x"])
    assert not await asyncio.to_thread(lambda: [*(host.run_dir / "cachix").iterdir()])


async def test_without_the_program_check_says_what_to_install(bin_folder: Path, host: Host) -> None:
    (bin_folder / "cachix").unlink()
    with pytest.raises(Rejected, match="install cachix"):
        await CachixCache(config(bin_folder), host).check()


async def test_a_token_that_cannot_be_read_names_the_setting(bin_folder: Path, host: Host) -> None:
    (bin_folder.parent / "token").unlink()
    with pytest.raises(ConfigError, match=r"\[plugins\.cachix\] token"):
        async with CachixCache(config(bin_folder), host):
            pass


def test_it_is_on_when_it_has_a_table(host: Host) -> None:
    table = {"cache": "acme", "token": "env:CACHIX_TOKEN"}
    [cache] = kennel_caches(PluginSettings({"cachix": table}, host))
    assert cache.name == "cachix"
    assert [*kennel_caches(PluginSettings({}, host))] == []


def test_a_token_in_place_of_a_reference_is_refused_and_not_shown(host: Host) -> None:
    table = {"cache": "acme", "token": TOKEN}
    with pytest.raises(ConfigError, match="token") as raised:
        kennel_caches(PluginSettings({"cachix": table}, host))
    assert TOKEN not in str(raised.value)
