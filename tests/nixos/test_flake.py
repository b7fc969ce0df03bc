"""The flake: every output of it, with stand-ins for its inputs."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kennel import settings
from kennel.build import manifest
from tests.nixos.evaluation import KENNEL, ROOT, Nix, Refused

INPUTS = {
    "nixpkgs": "stand-ins",
    "pyproject-build-systems": "inputs/pyproject-build-systems",
    "pyproject-nix": "inputs/pyproject-nix",
    "uv2nix": "inputs/uv2nix",
}
"""The inputs, and what stands in for them."""
SYSTEMS = ["aarch64-linux", "x86_64-linux"]
PLUGINS = {
    "kennel-cloudflare",
    "kennel-garage",
    "kennel-openbao",
    "kennel-postgres",
    "kennel-valkey",
}
LINT = (
    *(KENNEL.with_name("ruff"), "check", "--isolated", "--no-cache", "--select", "F,E9"),
    *("--config", 'builtins = ["machine", "subtest"]'),
)
"""What NixOS' test driver does to scripts before it plays them."""
PARTS = ("flake.nix", "flake.lock", "nixos", "plugins", "pyproject.toml", "uv.lock")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of what of the repository the flake is made of: Nix copies all there is."""
    folder = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy(source, folder / part)
    return folder


class Flake:
    """The flake, with stand-ins for its inputs."""

    def __init__(self, nix: Nix, folder: Path) -> None:
        self._nix = nix
        self._folder = folder

    def nix(self, *words: str) -> str:
        stand_ins = [
            word
            for name, place in INPUTS.items()
            for word in ("--override-input", name, f"path:{self._folder}/nixos/tests/{place}")
        ]
        return self._nix.run("nix", *words, *stand_ins)

    def evaluate(self, output: str, apply: str = "value: value") -> Any:
        return json.loads(
            self.nix("eval", "--json", f"path:{self._folder}#{output}", "--apply", apply)
        )


@pytest.fixture(scope="module")
def flake(nix: Nix, checkout: Path) -> Flake:
    return Flake(nix, checkout)


class TestTheLock:
    def test_is_what_the_pins_say(self) -> None:
        spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts" / "flake_lock.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        pins = (ROOT / "nixos" / "pins.json").read_text()
        lock = (ROOT / "flake.lock").read_text()
        assert script.lock(json.loads(pins)) == lock
        assert script.pins_of(json.loads(lock)) == pins

    def test_fits_the_inputs_of_the_flake(self, nix: Nix, checkout: Path) -> None:
        """Nix would fetch what is not locked, and has no network to."""
        before = (checkout / "flake.lock").read_text()
        words = ("flake", "metadata", "--json", "--no-update-lock-file", f"path:{checkout}")
        found = json.loads(nix.run("nix", *words))
        assert sorted(found["locks"]["nodes"]["root"]["inputs"]) == sorted(INPUTS)
        assert (checkout / "flake.lock").read_text() == before


class TestOutputs:
    def test_pass_the_check_of_nix(self, flake: Flake, checkout: Path) -> None:
        flake.nix("flake", "check", "--no-build", f"path:{checkout}")

    def test_are_these(self, flake: Flake, checkout: Path) -> None:
        shown = json.loads(flake.nix("flake", "show", "--json", f"path:{checkout}"))
        for output in ("packages", "devShells", "checks", "formatter"):
            assert sorted(shown[output]) == SYSTEMS
        for system in SYSTEMS:
            assert set(shown["packages"][system]) == {"kennel", "default", "devenv", *PLUGINS}
            assert "default" in shown["devShells"][system]
        assert set(shown["templates"]) == {"default", "plugin", "project"}
        for output in ("overlays", "nixosModules", "devenvModules"):
            assert flake.evaluate(output, "builtins.attrNames") == ["default"]

    def test_packages_have_the_versions_of_the_lock(self, flake: Flake) -> None:
        found = flake.evaluate(
            "packages.x86_64-linux", "builtins.mapAttrs (_: p: p.version or null)"
        )
        lock = (ROOT / "uv.lock").read_text()
        for name in PLUGINS:
            [version] = re.findall(rf'^name = "{name}"\nversion = "(.*)"', lock, re.MULTILINE)
            assert found[name] == version

    def test_every_plugin_of_the_repository_is_packaged(self, flake: Flake) -> None:
        there = {path.name.replace("_", "-") for path in (ROOT / "plugins").glob("kennel_*")}
        assert there == PLUGINS

    def test_the_overlay_adds_them_to_any_nixpkgs(self, flake: Flake, checkout: Path) -> None:
        pkgs = f"import {checkout}/nixos/tests/stand-ins/pkgs.nix"
        lib = f"import {checkout}/nixos/tests/stand-ins/lib"
        found = json.loads(
            flake.nix(
                "eval",
                "--impure",
                "--json",
                f"path:{checkout}#overlays.default",
                "--apply",
                f"overlay: let pkgs = {pkgs} {{ lib = {lib}; }}; all = overlay (pkgs // all) pkgs;"
                " in { plugins = builtins.attrNames all.kennelPlugins; kennel = all.kennel.name; }",
            )
        )
        assert set(found["plugins"]) == PLUGINS
        assert found["kennel"].startswith("kennel-")

    def test_the_modules_packages_are_the_flakes_own(self, flake: Flake, checkout: Path) -> None:
        """Neither has to be said."""
        module = (
            "{ services.kennel = { enable = true;"
            ' webhookSecretFile = "/run/secret"; resources.postgres.enable = true; }; }'
        )
        stand_ins = f"{checkout}/nixos/tests/stand-ins"
        apply = (
            f"module: let lib = import {stand_ins}/lib;"
            f" pkgs = import {stand_ins}/pkgs.nix {{ inherit lib; }};"
            f" e = lib.evalModules {{ modules = [ {stand_ins}/host.nix module ({module}) ];"
            " specialArgs = { inherit pkgs; }; };"
            " in { plugins = map (p: p.name) e.config.services.kennel.finalPackage.plugins;"
            f" toml = import {stand_ins}/toml.nix {{ inherit lib; }}"
            " e.config.services.kennel.settings; }"
        )
        words = ("eval", "--impure", "--json", f"path:{checkout}#nixosModules.default")
        found = json.loads(flake.nix(*words, "--apply", apply))
        assert found["plugins"] == ["kennel-postgres"]
        read = settings.parse(found["toml"], source="kennel.toml")
        assert read.build.devenv == "/pkgs/devenv/bin/devenv"

    def test_the_devenv_module_can_be_given_another_prefix(self, flake: Flake) -> None:
        count = flake.evaluate(
            "lib.devenvModule", '_: builtins.length (_ { prefix = "acme"; }).imports'
        )
        assert count == flake.evaluate(
            "devenvModules.default", "module: builtins.length module.imports"
        )


class TestKennelWithPlugins:
    def build(self, flake: Flake, checkout: Path, choose: str) -> Path:
        """Build the package with plugins; its stand-in lists what is in its environment."""
        words = ("eval", "--raw", f"path:{checkout}#packages.x86_64-linux.kennel")
        drv = flake.nix(*words, "--apply", f"kennel: (kennel.withPlugins ({choose})).drvPath")
        return Path(flake._nix.run("nix-store", "--realise", drv).strip())

    def test_has_those_that_are_chosen(self, flake: Flake, checkout: Path) -> None:
        built = self.build(flake, checkout, "p: [ p.kennel-postgres p.kennel-valkey ]")
        said = subprocess.check_output([built / "bin" / "kennel"], text=True)
        assert re.findall('"package": "(.*)"', said) == [
            "kennel",
            "kennel-postgres",
            "kennel-valkey",
        ]

    def test_is_not_built_where_one_is_not_found(self, flake: Flake, checkout: Path) -> None:
        """Its own check asks `kennel plugins` for every one of them."""
        package = "{ isFound = false; }"
        lost = f'{{ name = "kennel-lost"; overlay = _: _: {{ kennel-lost = {package}; }}; }}'
        with pytest.raises(Refused, match="kennel does not find kennel-lost"):
            self.build(flake, checkout, f"p: [ p.kennel-valkey {{ kennelPlugin = {lost}; }} ]")

    def test_that_check_reads_what_the_real_kennel_says(self) -> None:
        text = (ROOT / "nixos" / "packages" / "kennel.nix").read_text()
        [pattern] = re.findall(r'grep -q "(.*)" plugins.json', text)
        said = subprocess.check_output([KENNEL, "plugins", "--json"], text=True)
        for name in ("kennel", *PLUGINS):
            assert pattern.replace("\\", "").replace("$name", name) in said

    def test_an_unknown_package_is_told(self, flake: Flake, checkout: Path) -> None:
        unknown = 'p: [ { kennelPlugin = { name = "kennel-none"; overlay = _: _: { }; }; } ]'
        with pytest.raises(Refused, match="there is no package kennel-none"):
            self.build(flake, checkout, unknown)

    def test_a_plugin_of_others_brings_what_kennel_has_not(
        self, flake: Flake, checkout: Path, tmp_path: Path
    ) -> None:
        packages = {"kennel-mine": "0.3", "kennel": "0.0.1", "leftpad": "1.0"}
        text = "".join(
            f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
            for name, version in packages.items()
        )
        (tmp_path / "uv.lock").write_text(text)
        found = json.loads(
            flake.nix(
                "eval",
                "--impure",
                "--json",
                f"path:{checkout}#packages.x86_64-linux.kennel",
                "--apply",
                "kennel: let mine = kennel.buildPlugin"
                f' {{ root = {tmp_path}; name = "kennel-mine"; }};'
                " overlay = mine.kennelPlugin.overlay; had = { kennel = 1; };"
                " in { brings = builtins.attrNames (overlay had had);"
                " inherit (mine) version; name = (kennel.withPlugins (_: [ mine ])).name; }",
            )
        )
        assert found["brings"] == ["kennel-mine", "leftpad"]
        assert found["version"] == "0.3"
        assert found["name"].startswith("kennel-")


@pytest.fixture(scope="module")
def stories(flake: Flake) -> dict[str, Any]:
    found: dict[str, Any] = flake.evaluate(
        "checks.x86_64-linux",
        "checks: builtins.mapAttrs (_: c: { inherit (c) testScript machines; })"
        ' (builtins.removeAttrs checks [ "all-plugins" ])',
    )
    return found


class TestStories:
    def test_every_file_is_one(self, stories: dict[str, Any]) -> None:
        folder = ROOT / "nixos" / "tests" / "stories"
        files = {path.stem for path in folder.glob("*.nix")} - {"default", "machine"}
        assert set(stories) == files

    def test_their_scripts_can_be_read(self, stories: dict[str, Any]) -> None:
        for name, story in stories.items():
            tree = ast.parse(story["testScript"])
            linted = subprocess.run(
                [*LINT, "-"], input=story["testScript"], capture_output=True, text=True, check=False
            )
            assert linted.returncode == 0, name + linted.stdout
            defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            called = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert called <= defined | {"float", "subtest", "variable"}, name

    def test_their_machines_have_a_configuration_that_kennel_takes(
        self, stories: dict[str, Any]
    ) -> None:
        for story in stories.values():
            for machine in story["machines"].values():
                read = settings.parse(machine["toml"], source="kennel.toml")
                assert read.projects["shop"].url == "/srv/forge/acme/shop.git"
                assert read.plugins["caddy"]["tls"] == "internal"


class TestTheTemplateOfAProject:
    def test_declares_what_kennel_takes(self, nix: Nix) -> None:
        found = nix.evaluate(
            "let lib = import ./nixos/tests/stand-ins/lib;"
            " nixpkgs = { inherit lib; legacyPackages = lib.genAttrs"
            ' [ "x86_64-linux" "aarch64-linux" ] (_: { }); };'
            " outputs = (import ./nixos/templates/project/flake.nix).outputs { inherit nixpkgs; };"
            " in { inherit (outputs) kennel; systems = builtins.attrNames outputs.packages; }"
        )
        assert found["systems"] == SYSTEMS
        declared = manifest.read(found["kennel"])
        assert set(declared.services) == {"api"}
        assert set(declared.sites) == {"docs"}
        assert set(declared.resources) == {"postgres"}
        text = (ROOT / "nixos/templates/project/flake.nix").read_text()
        for name in ("api", "docs"):
            assert re.search(rf"^ +{name} = pkgs\.", text, re.MULTILINE), "each is a package"
