"""The book's pages on plugins: the tutorial works as it is written, the reference is complete."""

import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kennel.testing
from kennel import plugin
from kennel.plugin import hookspecs, ports
from kennel.plugin.offer import KINDS
from kennel.testing.missing import missing

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "plugins.md").read_text()
REFERENCE = (ROOT / "docs" / "plugin-api.md").read_text()
FILE = re.compile(
    r"^\*\*`(?P<name>[^`]+)`\*\*\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with every file of the tutorial, and the package installed beside it."""
    if not (uv := shutil.which("uv")):
        missing("no uv here: it builds and installs packages")
    folder = tmp_path_factory.mktemp("tutorial")
    for block in FILE.finditer(TUTORIAL):
        file = folder / "kennel-scratch" / block["name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block["text"])
    install = [uv, "pip", "install", "-q", "--no-deps", "--python", sys.executable]
    target = ["--target", str(folder / "site"), str(folder / "kennel-scratch")]
    subprocess.run([*install, *target], check=True, timeout=60)
    return folder


def run(written: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=written / "kennel-scratch",
        env={**os.environ, "PYTHONPATH": str(written / "site")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tutorials_tests_pass(written: Path) -> None:
    said = run(written, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests")
    assert " passed" in said
    assert "skipped" not in said


def test_kennel_lists_the_tutorials_plugin(written: Path) -> None:
    listed = json.loads(run(written, "kennel", "plugins", "--json"))
    (scratch,) = [found for found in listed if found["name"] == "scratch"]
    assert (scratch["package"], scratch["kinds"], scratch["on"]) == (
        "kennel-scratch",
        ["provisioner"],
        True,
    )


def test_the_tutorials_commands_exist(written: Path) -> None:
    for command in re.findall(r"^kennel ([a-z-]+)", TUTORIAL, re.MULTILINE):
        run(written, "kennel", command, "--help")


def test_the_tutorials_code_is_typed(written: Path) -> None:
    mypy = ["mypy", "--strict", "--no-incremental", "--explicit-package-bases"]
    run(written, *mypy, "kennel_scratch", "tests")


def test_the_reference_is_what_the_docstrings_say() -> None:
    spec = importlib.util.spec_from_file_location("plugin_api", ROOT / "scripts" / "plugin_api.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.book() == REFERENCE, "run `python scripts/plugin_api.py`"


@pytest.mark.parametrize("hook", KINDS)
def test_every_hook_is_in_the_reference(hook: str) -> None:
    doc = inspect.getdoc(getattr(hookspecs, hook))
    assert doc
    assert f"### `{hook}`\n\n" in REFERENCE
    assert doc in REFERENCE


@pytest.mark.parametrize("port", [port for _, port in KINDS.values()], ids=lambda p: p.__name__)
def test_every_method_of_a_port_is_in_the_reference(port: type[ports.Provider]) -> None:
    entry = REFERENCE.partition(f"### `{port.__name__}`\n")[2].partition("\n### ")[0]
    for name, method in inspect.getmembers(port, inspect.isfunction):
        if name in vars(port) and not name.startswith("_"):
            assert f"def {name}(" in entry
            assert method.__doc__, name


@pytest.mark.parametrize("name", plugin.__all__)
def test_everything_a_plugin_may_import_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in REFERENCE


def test_every_hook_has_a_kind() -> None:
    found = {n for n in vars(hookspecs) if n.startswith("kennel_")}
    assert found == set(KINDS)


def test_the_tutorial_names_every_contract() -> None:
    contracts = [n for n in kennel.testing.__all__ if n.endswith("Contract") and n != "Contract"]
    assert len(contracts) >= 6
    for contract in contracts:
        assert contract in TUTORIAL, contract
