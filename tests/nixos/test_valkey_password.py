"""The password of the Valkey that NixOS sets up for tenants."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from kennel.testing.missing import missing
from tests.nixos.evaluation import Nix, configuration

ON = "{ services.kennel.resources.valkey.enable = true; }"
GIVEN = '{ services.kennel.resources.valkey.passwordFile = "/run/secrets/valkey"; }'


def script(nix: Nix, *modules: str) -> str:
    found = nix.evaluate(f"({configuration('minimal', [ON, *modules])}).system.scripts")
    text: str = found["kennel-valkey-password"]
    return text


def run(text: str, folder: Path, **variables: str) -> None:
    """Run a script as systemd would, with what the unit says of it."""
    subprocess.run(
        ["bash", "-e", "-c", f"umask 0077\n{text}"],
        env={"PATH": "/usr/bin:/bin", "STATE_DIRECTORY": str(folder), **variables},
        check=True,
        timeout=30,
    )


def test_is_made_once(nix: Nix, tmp_path: Path) -> None:
    text = script(nix)
    run(text, tmp_path)
    password = (tmp_path / "password").read_text()
    assert re.fullmatch("[0-9a-f]{48}", password)
    run(text, tmp_path)
    assert (tmp_path / "password").read_text() == password
    assert {path.name for path in tmp_path.iterdir()} == {"password", "users.acl"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_is_the_one_that_is_given(nix: Nix, tmp_path: Path) -> None:
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    state.mkdir()
    (credentials / "password").write_text("hunter2\n")
    run(script(nix, GIVEN), state, CREDENTIALS_DIRECTORY=str(credentials))
    assert (state / "users.acl").read_text() == (
        "user default off\nuser kennel on >hunter2 ~* &* +@all\n"
    )


def test_opens_a_real_server_to_kennel_and_to_nobody_else(nix: Nix, tmp_path: Path) -> None:
    server = shutil.which("valkey-server") or shutil.which("redis-server")
    client = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if server is None or client is None:
        missing("no server of Valkey's here: install redis-server")
    run(script(nix), tmp_path)
    socket = tmp_path / "s"
    running = subprocess.Popen(
        [server, "--port", "0", "--unixsocket", socket, "--aclfile", tmp_path / "users.acl"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.01)
        password = (tmp_path / "password").read_text()
        assert answer(client, socket, "--user", "kennel", "--pass", password) == "PONG"
        assert answer(client, socket).startswith("NOAUTH")
    finally:
        running.terminate()
        running.wait(20)


def answer(client: str, socket: Path, *words: str) -> str:
    done = subprocess.run(
        [client, "-s", socket, "--no-auth-warning", *words, "PING"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("modules", [[], [GIVEN]])
def test_is_read_by_kennel_as_a_credential(nix: Nix, modules: list[str]) -> None:
    found = nix.evaluate(f"({configuration('minimal', [ON, *modules])}).system")
    place = "/run/secrets/valkey" if modules else "/var/lib/kennel-valkey/password"
    assert f"LoadCredential=valkey-password:{place}" in found["units"]["kennel"].splitlines()
    assert 'password = "credential:valkey-password"' in found["toml"]
