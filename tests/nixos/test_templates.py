"""What is made from a template works: a plugin passes its own tests with one command."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from kennel.testing.missing import missing
from kennel.testing.probe import free_port
from tests.nixos.evaluation import ROOT, Nix, configuration

PLUGIN = ROOT / "nixos" / "templates" / "plugin"
PROJECT = ROOT / "nixos" / "templates" / "project"
PUBLISHED = 'kennel = { git = "https://github.com/ScottyLabs/kennel" }'
FILE = re.compile(
    r"^\*\*`(?P<name>[^`]+)`\*\*\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
CLEAN = {
    k: v for k, v in os.environ.items() if not k.startswith(("UV_PROJECT", "VIRTUAL_ENV", "PYTHON"))
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a plugin made from the template, called otherwise, that takes this Kennel."""
    folder = tmp_path_factory.mktemp("made") / "kennel-mine"
    shutil.copytree(PLUGIN, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (folder / "kennel_scratch").rename(folder / "kennel_mine")
    for file in folder.rglob("*"):
        if file.is_file():
            text = file.read_text()
            file.write_text(re.sub(r"kennel([-_])scratch", r"kennel\1mine", text))
    project = folder / "pyproject.toml"
    assert PUBLISHED in project.read_text()
    project.write_text(project.read_text().replace(PUBLISHED, f'kennel = {{ path = "{ROOT}" }}'))
    return folder


def test_it_passes_its_own_tests(made: Path) -> None:
    if not (uv := shutil.which("uv")):
        missing("no uv here: it builds and installs packages")
    [command] = re.findall(r"^uv (run pytest) ", (PLUGIN / "README.md").read_text(), re.MULTILINE)
    done = subprocess.run(
        [uv, *command.split(), "-p", "no:cacheprovider"],
        cwd=made,
        env=CLEAN,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_it_is_what_the_guide_explains() -> None:
    guide = (ROOT / "docs" / "plugins.md").read_text()
    explained = {block["name"]: block["text"] for block in FILE.finditer(guide)}
    for name in ("kennel_scratch/__init__.py", "kennel_scratch/folders.py"):
        assert (PLUGIN / name).read_text() == explained[name]
    tests = "tests/test_kennel_scratch.py"
    assert (PLUGIN / tests).read_text() == explained[tests]
    assert (PLUGIN / "pyproject.toml").read_text().startswith(explained["pyproject.toml"])


def test_its_flake_gives_nixos_the_plugin(nix: Nix) -> None:
    kennel = (
        '{ packages.x86_64-linux.kennel.buildPlugin = { root, name }: { type = "derivation";'
        " inherit name; outPath = root; }; }"
    )
    flake = (
        "let outputs = (import ./nixos/templates/plugin/flake.nix).outputs"
        f" {{ self = outputs; kennel = {kennel}; }}; in outputs.nixosModules.default"
    )
    setting = '{ services.kennel.settings.plugins.scratch.folder = "/srv/scratch"; }'
    found = nix.evaluate(f"({configuration('minimal', [flake, setting])}).system")
    assert found["plugins"] == ["kennel-scratch"]
    assert '[plugins.scratch]\nfolder = "/srv/scratch"' in found["toml"]


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[httpx.Client]:
    """Run the project's service as Kennel would."""
    port = free_port()
    listens = {"HOST": "127.0.0.1", "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, PROJECT / "api.py"],
        env=CLEAN | environment | listens,
        stderr=subprocess.DEVNULL,
    )
    transport = httpx.HTTPTransport(retries=8)  # until it listens
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as client:
            assert client.get("/health", timeout=20).text == "ok\n"
            yield client
    finally:
        process.terminate()
        process.wait(20)


def test_the_projects_service_counts_by_itself() -> None:
    with serving({}) as client:
        assert client.get("/").text == "This is visit 1.\n"
        assert client.get("/").text == "This is visit 2.\n"
        assert client.get("/else").status_code == 404


def test_the_projects_service_counts_in_its_database(postgresql: str) -> None:
    environment = {"DATABASE_URL": postgresql}
    for _ in range(2):  # with every build
        subprocess.run(
            [sys.executable, PROJECT / "api.py", "migrate"],
            env=CLEAN | environment,
            check=True,
            timeout=30,
        )
    for visit in (1, 2):
        with serving(environment) as client:
            assert client.get("/").text == f"This is visit {visit}.\n"
