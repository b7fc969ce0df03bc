"""examples/hello, built by the real Nix and run."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kennel.cli.demo import nix, place
from kennel.testing.missing import missing

EXAMPLE = Path(__file__).parents[2] / "examples/hello"


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    """The example in a repository of its own: flakes see only what git has."""
    if shutil.which("nix") is None:
        missing("nix is not installed")
    folder = tmp_path / "hello"
    shutil.copytree(EXAMPLE, folder)
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    path = os.environ["PATH"]
    return {"PATH": path, "HOME": str(tmp_path), **nix.environment(tmp_path / "nix")}


def run(words: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_declares_a_service_and_a_site(flake: Path, env: dict[str, str]) -> None:
    manifest = json.loads(run(["nix", "eval", "--json", f"{flake}#kennel"], env))
    assert manifest == {
        "version": 1,
        "services": {"hello": {"ready": {"path": "/health"}}},
        "sites": {"docs": {}},
    }


def test_the_service_runs(flake: Path, env: dict[str, str], tmp_path: Path) -> None:
    result = tmp_path / "result"
    run(["nix", "build", f"{flake}#hello", "--out-link", str(result)], env)
    assert [entry.name for entry in (result / "bin").iterdir()] == ["hello"]
    [port] = place.free_ports(1)
    variables = {"PORT": str(port), "HOST": "127.0.0.1", "KENNEL_REF": "main", "SECRET": "x"}
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    service = subprocess.Popen([str(result / "bin/hello")], env={"PATH": path, **variables})
    try:
        assert answer(port, "/health") == (200, "ok\n")
        assert answer(port, "/") == (200, "Hello from Kennel\n\nKENNEL_REF=main\n")
        assert answer(port, "/nowhere")[0] == 404
    finally:
        service.terminate()
        service.wait()


def answer(port: int, path: str) -> tuple[int, str]:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_the_site_is_the_folder(flake: Path, env: dict[str, str], tmp_path: Path) -> None:
    result = tmp_path / "result"
    run(["nix", "build", f"{flake}#docs", "--out-link", str(result)], env)
    for file in (EXAMPLE / "docs").iterdir():
        assert (result / file.name).read_text() == file.read_text()
