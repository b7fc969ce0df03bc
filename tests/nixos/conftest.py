"""A real Nix for tests, with stand-ins for nixpkgs."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from kennel.testing.missing import missing
from tests.nixos.evaluation import CONF, Nix


@pytest.fixture(scope="session")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nix]:
    if shutil.which("nix-instantiate") is None:
        missing("no nix-instantiate here: install Nix")
    folder = tmp_path_factory.mktemp("nix")
    for name in ("store", "var", "log", "conf"):
        (folder / name).mkdir()
    (folder / "conf" / "nix.conf").write_text(CONF)
    yield Nix(folder)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.rmtree(folder)
