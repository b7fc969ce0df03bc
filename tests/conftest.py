"""Servers and stores that tests share."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest

from kennel.store import Store
from kennel.testing.postgresql import postgresql_server

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("kennel", deadline=None)
hypothesis.settings.load_profile("kennel")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Give the URL of a real PostgreSQL server's superuser database."""
    with postgresql_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an empty database, on each of the servers the store knows."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/kennel.db"
    server: str = request.getfixturevalue("postgresql")
    name = f"store_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """Give an open store, empty, on each of the servers."""
    store = Store(database_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[Store]:
    """Give an open store on SQLite, for tests that are not about the store."""
    store = Store(f"sqlite:///{tmp_path}/kennel.db")
    await store.open()
    yield store
    await store.close()
