"""The conformance suite, as a role that may make databases and roles, and is no superuser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kennel_postgres import PostgresProvisioner

from kennel.domain import Env
from kennel.plugin import Provisioner
from kennel.testing import MakeProvisioner, ProvisionerContract
from kennel.testing.postgresql import PostgresqlServer, rows

FOREIGN = ("kennelXlovelace_main", "kennel_lovelace_mine", "kennel_lovelace")


class TestPostgres(ProvisionerContract):
    server: PostgresqlServer
    make: Callable[..., PostgresProvisioner]
    listed: Callable[[], set[str]]

    @pytest.fixture(autouse=True)
    def parts(
        self,
        server: PostgresqlServer,
        make: Callable[..., PostgresProvisioner],
        inventory: Callable[[], set[str]],
    ) -> Iterator[None]:
        self.server, self.make, self.listed = server, make, inventory
        yield
        for name in FOREIGN:
            rows(server.url, f'DROP DATABASE IF EXISTS "{name}"')
            rows(server.url, f'DROP ROLE IF EXISTS "{name}"')

    @pytest.fixture
    def make_provisioner(self) -> MakeProvisioner:
        return lambda: self.make(backup_before_drop="never")

    def inventory(self) -> set[str]:
        return self.listed()

    def make_foreign(self) -> None:
        for name in FOREIGN:
            rows(self.server.url, f'CREATE DATABASE "{name}"')
            rows(self.server.url, f'CREATE ROLE "{name}"')
        comments = {"kennelXlovelace_main": "kennel: lovelace/main", "kennel_lovelace": "kennel: x"}
        for name, comment in comments.items():
            rows(self.server.url, f"COMMENT ON DATABASE \"{name}\" IS '{comment}'")
            rows(self.server.url, f"COMMENT ON ROLE \"{name}\" IS '{comment}'")

    def unreachable(self) -> Provisioner:
        return self.make(socket_dir=Path("/nowhere"))

    def put(self, env: Env, text: str) -> None:
        rows(env["DATABASE_URL"].value, f"CREATE TABLE words AS SELECT '{text}' AS word")

    def get(self, env: Env) -> str | None:
        if not rows(env["DATABASE_URL"].value, "SELECT 1 FROM pg_tables WHERE tablename = 'words'"):
            return None
        return str(rows(env["DATABASE_URL"].value, "SELECT word FROM words")[0][0])
