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


EVERYWHERE = ("test_contract.py", "test_hostile.py", "test_templates.py")
"""What is tried on the other version as well."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try the contract and hostile tenants on PostgreSQL 17 too: 16 changed what roles may do."""
    everywhere = Path(metafunc.module.__file__ or "").name in EVERYWHERE
    if everywhere and "server" in metafunc.fixturenames:
        versions = [pytest.param(None, id="installed"), pytest.param(17, id="17")]
        metafunc.parametrize("server", versions, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresqlServer]:
    with postgresql(version=getattr(request, "param", None)) as server:
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
