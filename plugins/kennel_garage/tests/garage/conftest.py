"""A real Garage, and provisioners for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import boto3
import pytest
from botocore.config import Config
from kennel_garage import GarageConfig, GarageProvisioner, provisioner

from kennel.domain import Env
from kennel.plugin.settings import Host
from kennel.testing.garage import GarageServer, garage_server

MakeGarage: TypeAlias = Callable[..., GarageProvisioner]
S3: TypeAlias = Callable[[Env], Any]


BUILT_WITHIN = 1200
"""Seconds that a test may wait, with all its own work, for a Garage that is still being built."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(BUILT_WITHIN))


@pytest.fixture(scope="session")
def server() -> Iterator[GarageServer]:
    with garage_server() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


@pytest.fixture
def make(server: GarageServer, monkeypatch: pytest.MonkeyPatch) -> MakeGarage:
    """Return what makes a provisioner; its words are settings."""
    monkeypatch.setenv("GARAGE_TOKEN", server.token)

    def made(**settings: Any) -> GarageProvisioner:
        given = {
            "admin_token": "env:GARAGE_TOKEN",
            "admin_url": server.admin,
            "endpoint": server.s3,
        }
        return provisioner(GarageConfig(**{**given, **settings}))

    return made


@pytest.fixture
async def garage(make: MakeGarage) -> AsyncIterator[GarageProvisioner]:
    """Give a provisioner that is open; take everything away in the end."""
    async with make() as garage:
        yield garage
        for tenant in await garage.observe():
            await garage.remove(tenant)


@pytest.fixture(scope="session")
def s3() -> S3:
    """Return what makes a client that knows no more than a tenant's environment says."""
    return _client


def _client(env: Env) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL_S3"].value,
        region_name=env["AWS_REGION"].value,
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"].value,
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"].value,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
