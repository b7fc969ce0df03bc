"""What the README and module.nix have an operator do is enough, and all settings are explained."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
import pytest
from kennel_postgres import PostgresConfig, PostgresProvisioner

from kennel.domain import Ref, Tenant
from kennel.testing.missing import missing
from kennel.testing.postgresql import postgresql, rows

PLUGIN = Path(__file__).parents[2]
README = (PLUGIN / "README.md").read_text()
ADA = Tenant("lovelace", Ref.branch("main"))
ROOT = PLUGIN.parents[1]
SYSTEM = """
let
  kennel = { kennel, ... }: {
    imports = [ %(root)s/nixos/tests/configurations/minimal.nix ];
    services.kennel.resources.postgres.enable = true;
    services.kennel.settings.plugins.postgres.connections = 5;
  };
  evaluation = import %(root)s/nixos/tests/evaluate.nix { configuration = kennel; };
  inherit (evaluation.evaluation) config;
in {
  access = config.services.postgresql.authentication;
  user = builtins.head config.services.postgresql.ensureUsers;
  script = config.systemd.services.kennel-postgresql-setup.script;
  table = config.services.kennel.settings.plugins.postgres;
}
"""


def block(kind: str) -> str:
    """Return the first block of the README that is written in this language ("": in none)."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def access() -> list[list[str]]:
    """Return the lines of pg_hba.conf that the README gives, word by word."""
    lines = [line.split() for line in README.splitlines() if re.match(r"local +\w+ +\w+ +", line)]
    assert len(lines) == 3
    return lines


async def test_a_server_that_is_set_up_so_is_well(
    make: Callable[..., PostgresProvisioner],
) -> None:
    with postgresql() as server:
        rows(server.url, "GRANT CONNECT ON DATABASE postgres, template1 TO PUBLIC")
        rows(server.url, block("sql"))
        lines = [" ".join(words).replace("peer", "trust") for words in access()]
        (server.folder / "data" / "pg_hba.conf").write_text(
            "\n".join([*lines, "local all all peer\n"])
        )
        server.stop()
        server.start()
        async with make(socket_dir=server.folder) as postgres:
            await postgres.check()
            env = await postgres.ensure(ADA, {})
            await postgres.check()
            url = env["DATABASE_URL"].value
            assert rows(url, "SELECT 1") == [(1,)]
            with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
                rows(url.replace("/kennel_lovelace_main?", "/postgres?"), "SELECT 1")
            await postgres.remove(ADA)


def test_every_setting_is_explained() -> None:
    explained = set(re.findall(r"`(?:\[plugins\.postgres\.)?(\w+)\]?`", README))
    assert {field.name for field in msgspec.structs.fields(PostgresConfig)} <= explained


@pytest.mark.parametrize("name", [command.name for command in PostgresProvisioner.commands])
def test_every_command_is_explained(name: str) -> None:
    assert f"kennel postgres {name} shop" in README


def test_the_nixos_module_does_what_the_readme_says() -> None:
    if shutil.which("nix-instantiate") is None:
        missing("no nix-instantiate here: install Nix")
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "-E", SYSTEM % {"root": ROOT}],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [line.split() for line in found["access"].splitlines()] == access()
    clauses = {"login": True, "createdb": True, "createrole": True}
    assert found["user"] == {"name": "kennel", "ensureClauses": clauses}
    assert found["table"] == {"socket_dir": "/run/postgresql", "connections": 5}
    for statement in ("GRANT CONNECT ON DATABASE postgres TO", "REVOKE CONNECT, TEMPORARY ON"):
        assert statement in found["script"]
        assert statement in README
