"""A real server, and Kennel's own role on it that is no superuser."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from kennel_postgres import PostgresConfig, PostgresProvisioner, provisioner

from kennel.plugin.settings import Host
from kennel.testing.postgresql import PostgresqlServer, postgresql, rows

MakePostgres: TypeAlias = Callable[..., PostgresProvisioner]

ROLES = """
CREATE ROLE kennel LOGIN CREATEDB CREATEROLE;
GRANT CONNECT ON DATABASE postgres TO kennel;
"""


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresqlServer]:
    with postgresql() as server:
        for statement in ROLES.strip().splitlines():
            rows(server.url, statement)
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name in ("state", "run"):
        (tmp_path / name).mkdir()
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


@pytest.fixture
def make(server: PostgresqlServer, host: Host) -> MakePostgres:
    """Return what makes a provisioner; its words are settings."""

    def made(**settings: Any) -> PostgresProvisioner:
        given = {"socket_dir": server.folder, "user": "kennel", "programs": server.programs}
        return provisioner(PostgresConfig(**{**given, **settings}), host)

    return made


@pytest.fixture
async def postgres(make: MakePostgres) -> AsyncIterator[PostgresProvisioner]:
    """Give a provisioner that is open; take everything away in the end."""
    async with make() as postgres:
        yield postgres
        for tenant in await postgres.observe():
            await postgres.remove(tenant)


@pytest.fixture
def inventory(server: PostgresqlServer) -> Callable[[], set[str]]:
    """Return what tells every database and role there is."""

    def listed() -> set[str]:
        databases = rows(server.url, "SELECT 'database ' || datname FROM pg_database")
        roles = rows(server.url, "SELECT 'role ' || rolname FROM pg_roles")
        return {name for (name,) in [*databases, *roles]}

    return listed
