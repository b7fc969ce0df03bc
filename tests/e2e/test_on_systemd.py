"""What only a real systemd has: services that outlive Kennel, builds in units, reboots, secrets."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from kennel.testing.host_scene import host_scene as host_scenes
from kennel.testing.repository import FLAKE, MANIFEST, SERVICE

if TYPE_CHECKING:
    from kennel.testing.host_scene import HostScene
    from kennel.testing.machine import Machine

pytestmark = [pytest.mark.host, pytest.mark.timeout(180)]

SLOW = FLAKE.replace(
    'api = folder "api" "${./api}"',
    'api = derivation { name = "api"; system = builtins.currentSystem or "x86_64-linux";'
    ' builder = "/bin/sh"; args = [ "-c" "exec /bin/sleep 4242" ]; }',
)
"""A flake whose build takes longer than any test."""


def builds(scene: "HostScene") -> set[str]:
    return scene.machine.units("kennel-build-*")


def asleep(scene: "HostScene") -> list[int]:
    """Return the processes of slow builds."""
    return [pid for pid, words in scene.machine.processes().items() if "sleep 4242" in words]


def test_what_was_down_in_a_reboot_comes_back(host_scene: "HostScene") -> None:
    scene = host_scene
    repository = scene.repository()
    repository.push()
    repository.push("HEAD:refs/heads/change")
    scene.live("one")
    scene.live("one", ref="change")
    scene.end(signal.SIGKILL)
    scene.stop_everything()
    shutil.rmtree(scene.place.run)
    assert scene.services() == {}
    scene.start()
    scene.live("one")
    scene.live("one", ref="change")
    assert "Docs" in scene.answer(scene.url("shop", "docs"))
    scene.settle()


def test_a_new_start_adopts_what_runs(host_scene: "HostScene") -> None:
    scene = host_scene
    scene.repository().push()
    scene.live("one")
    before = scene.services()
    for number in (signal.SIGTERM, signal.SIGKILL):
        scene.end(number)
        assert scene.services() == before
        scene.start()
        scene.live("one")
        scene.settle()
        assert scene.services() == before


def test_a_build_that_outlives_a_killed_kennel_is_ended(host_scene: "HostScene") -> None:
    scene = host_scene
    repository = scene.repository()
    repository.commit({"flake.nix": SLOW})
    repository.push()
    scene.eventually(lambda: asleep(scene), "the build is under way")
    [before] = asleep(scene)
    assert len(builds(scene)) == 1
    scene.end(signal.SIGKILL)
    assert len(builds(scene)) == 1, "systemd keeps the unit"
    scene.start()
    scene.eventually(lambda: before not in asleep(scene), "the orphan is ended")
    repository.commit({"flake.nix": FLAKE})
    repository.push()
    scene.live("one")
    scene.eventually(lambda: not builds(scene) and not asleep(scene), "nothing builds any more")
    scene.settle()


def test_a_build_that_is_cancelled_is_ended(host_scene: "HostScene") -> None:
    scene = host_scene
    repository = scene.repository()
    repository.commit({"flake.nix": SLOW})
    repository.push()
    scene.eventually(lambda: asleep(scene), "the build is under way")
    build = scene.newest("shop")
    assert build is not None
    scene.daemon.cancel(build.id)
    scene.eventually(lambda: not builds(scene) and not asleep(scene), "nothing builds any more")
    assert scene.state("shop") == "cancelled"


def test_submodules_are_built_in_units(host_scene: "HostScene") -> None:
    scene = host_scene
    library, shop = scene.repository("library"), scene.repository("shop")
    library.push()
    add = ("submodule", "--quiet", "add", "--", "../library.git", "library")
    shop.git("-c", "protocol.file.allow=always", *add)
    shop.commit({"flake.nix": FLAKE.replace("${./docs}", "${./library/docs}")})
    shop.push()
    scene.live("one", "shop")
    assert "Docs" in scene.answer(scene.url("shop", "docs"))


# A plugin that gives every tenant a value that nobody else may learn.
PLUGIN = """
from collections.abc import Mapping
from kennel.domain import Secret
from kennel.plugin import PluginConfig, Provisioner, hookimpl

class Config(PluginConfig, frozen=True): pass

class Vault(Provisioner):
    name = "vault"
    variables = frozenset({"TOKEN"})
    async def check(self): ...
    async def observe(self): return set()
    async def ensure(self, tenant, options): return {"TOKEN": Secret("VALUE")}
    async def remove(self, tenant): ...

@hookimpl
def kennel_provisioners(settings):
    return [Vault()] if settings.read("probe", Config) else []
"""
VALUE = "correct-horse-battery-staple"
TELLS = SERVICE.replace(
    'TEXT = "one"',
    'import hashlib; TEXT = hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest()',
)


@pytest.fixture
def with_plugin(machine: "Machine") -> Iterator["HostScene"]:
    """Give a place whose daemon has a plugin that makes secrets."""
    with host_scenes(machine) as scene:
        folder = scene.place.root / "plugins"
        info = folder / "probe_vault-1.dist-info"
        info.mkdir(parents=True)
        (folder / "probe_vault.py").write_text(PLUGIN.replace("VALUE", VALUE))
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe-vault\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[kennel]\nprobe = probe_vault\n")
        with scene.place.config.open("a") as config:
            config.write("[plugins.probe]\n")
        scene.start(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
        yield scene


def test_a_secret_is_with_its_service_and_nowhere_else(with_plugin: "HostScene") -> None:
    scene = with_plugin
    repository = scene.repository()
    manifest = {**MANIFEST, "resources": {"vault": {}}}
    repository.commit({"api/bin/api": TELLS, "kennel.json": json.dumps(manifest)})
    repository.push()
    scene.live(sha256(VALUE.encode()).hexdigest())
    [unit] = scene.generations()
    path = "/org/freedesktop/systemd1/unit/" + escaped(f"{unit}.service")
    public = {
        "systemctl show": ["systemctl", "show", "*"],
        "D-Bus": ["busctl", "introspect", "org.freedesktop.systemd1", path],
        "command lines": ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"],
        "journal": ["journalctl", "--no-pager", "--all", "--output=export"],
    }
    for where, command in public.items():
        output = scene.machine.box.run(command).stdout
        assert output, where
        assert VALUE not in output, where
    holders = {file for file in files(scene.place.root) if VALUE.encode() in file.read_bytes()}
    assert holders == {
        scene.place.run / "env" / f"{unit}.env",
        scene.place.root / "plugins" / "probe_vault.py",
    }
    for known in ("kennel.log", "state/kennel.db", "state/logs/1.log", "run/caddy/config.json"):
        assert (scene.place.root / known).stat().st_size, f"{known} was searched"
    assert VALUE not in caddys_configuration(scene)


def escaped(unit: str) -> str:
    return "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in unit)


def files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for file in (Path(where, name) for name in names):
            if file.is_file() and not file.is_symlink():
                yield file


def caddys_configuration(scene: "HostScene") -> str:
    socket = scene.place.run / "caddy/admin.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
        text = client.get("http://localhost/config/").text
    assert "shop-main.localhost" in text
    return text
