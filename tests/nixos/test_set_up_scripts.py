"""What the module runs on a machine to set servers up does it, on the real ones."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kennel.testing.garage import find
from kennel.testing.postgresql import postgresql, rows
from kennel.testing.probe import free_port
from tests.nixos.evaluation import Nix, configuration

GARAGE = """\
metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret_file = "{folder}/out-of-reach"

[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{s3}"
"""


@pytest.fixture(scope="module")
def scripts(nix: Nix) -> dict[str, str]:
    found: dict[str, str] = nix.evaluate(f"({configuration('everything')}).system.scripts")
    return found


@contextmanager
def garage_without_layout(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Garage as the module does; give the environment of the unit that lays it out."""
    text = GARAGE.format(folder=folder, rpc=free_port(), s3=free_port())
    (folder / "garage.toml").write_text(text)
    (folder / "secret").write_text("0123456789abcdef" * 4)
    (folder / "secret").chmod(0o600)
    environment = {
        "PATH": "/usr/bin:/bin",
        "GARAGE_CONFIG_FILE": str(folder / "garage.toml"),
        "GARAGE_RPC_SECRET_FILE": str(folder / "secret"),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([find(), "server"], env=environment, stdout=log, stderr=log)
    try:
        yield environment
    finally:
        server.terminate()
        server.wait(20)


def test_garages_one_node_is_laid_out_once(scripts: dict[str, str], tmp_path: Path) -> None:
    script = scripts["kennel-garage-layout"].replace("/pkgs/garage/bin/garage", str(find()))
    with garage_without_layout(tmp_path) as environment:
        for _ in range(2):  # with every start of the machine
            run = ["bash", "-e", "-c", script]
            subprocess.run(run, env=environment, check=True, timeout=60, capture_output=True)
        shown = subprocess.run(
            [find(), "layout", "show"], env=environment, check=True, capture_output=True, text=True
        ).stdout
    assert "Current cluster layout version: 1" in shown
    assert "here  93.1 GiB" in shown, "which is 100G"


def test_postgresql_lets_tenants_into_no_database_of_its_own(scripts: dict[str, str]) -> None:
    with postgresql() as server:
        rows(server.url, "CREATE ROLE kennel LOGIN")
        rows(server.url, "CREATE ROLE tenant LOGIN")
        rows(server.url, "GRANT CONNECT ON DATABASE postgres, template1 TO PUBLIC")
        script = scripts["kennel-postgresql-setup"]
        script = script.replace(
            "--host /run/postgresql", f"--username postgres --host {server.folder}"
        )
        for _ in range(2):
            subprocess.run(["bash", "-e", "-c", script], check=True, timeout=60)
        for role, database, may in (
            ("tenant", "postgres", False),
            ("tenant", "template1", False),
            ("kennel", "template1", False),
            ("kennel", "postgres", True),
        ):
            asked = f"SELECT has_database_privilege('{role}', '{database}', 'CONNECT')"
            assert rows(server.url, asked) == [(may,)], (role, database)
