"""The conformance suite, in both versions of the admin API."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kennel_garage import GarageProvisioner

from kennel.domain import Env
from kennel.plugin import Provisioner
from kennel.testing import MakeProvisioner, ProvisionerContract
from kennel.testing.garage import GarageServer
from kennel.testing.old_garage import OldGarage

FOREIGN = ("kennelx-lovelace--main", "kennel-lovelace-main", "kennel-lovelace--mine")
FOREIGN_KEYS = ("kennel lovelace/main", "kennel: lovelace", "kennel: lovelace/refs/heads/main")


class TestGarage(ProvisionerContract):
    server: GarageServer
    make: Callable[..., GarageProvisioner]
    s3: Callable[[Env], Any]

    @pytest.fixture(autouse=True)
    def parts(
        self,
        server: GarageServer,
        make: Callable[..., GarageProvisioner],
        s3: Callable[[Env], Any],
    ) -> Iterator[None]:
        self.server, self.make, self.s3 = server, make, s3
        yield
        for name in FOREIGN:
            if bucket := server.ask("GetBucketInfo", globalAlias=name):
                server.ask("DeleteBucket", {}, id=bucket["id"])
        for key in server.ask("ListKeys"):
            if key["name"] in FOREIGN_KEYS:
                server.ask("DeleteKey", {}, id=key["id"])

    @pytest.fixture
    def make_provisioner(self) -> MakeProvisioner:
        return self.make

    def inventory(self) -> set[str]:
        aliases = [
            alias for one in self.server.ask("ListBuckets") for alias in one["globalAliases"]
        ]
        return {*aliases, *(f"key {one['name']}" for one in self.server.ask("ListKeys"))}

    def make_foreign(self) -> None:
        for name in FOREIGN:
            self.server.ask("CreateBucket", {"globalAlias": name})
        for name in FOREIGN_KEYS:
            self.server.ask("CreateKey", {"name": name})

    def unreachable(self) -> Provisioner:
        return self.make(admin_url="http://127.0.0.1:9")

    def put(self, env: Env, text: str) -> None:
        self.s3(env).put_object(Bucket=env["S3_BUCKET"].value, Key="word", Body=text.encode())

    def get(self, env: Env) -> str | None:
        client, bucket = self.s3(env), env["S3_BUCKET"].value
        if not client.list_objects_v2(Bucket=bucket)["KeyCount"]:
            return None
        return str(client.get_object(Bucket=bucket, Key="word")["Body"].read().decode())


class TestOfAnOldServer(TestGarage):
    """Against Garage 1's admin API, which a stand-in makes of the real one."""

    @pytest.fixture
    def make_provisioner(self) -> Iterator[MakeProvisioner]:
        with OldGarage(self.server) as old:
            yield lambda: self.make(admin_url=old.url)
