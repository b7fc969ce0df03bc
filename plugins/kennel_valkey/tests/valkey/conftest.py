"""A real server of every release that is supported, and a Kennel's state folder beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from kennel_valkey import DatabaseProvisioner, kennel_provisioners

from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host
from kennel.testing import valkey_server
from kennel.testing.valkey import RELEASES, Release, ValkeyServer

MakeDatabases: TypeAlias = Callable[..., DatabaseProvisioner]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")
    for folder in (host.state_dir, host.run_dir):
        folder.mkdir()
    return host


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    """Run the test once for every release."""
    release: Release = request.param
    return release


@pytest.fixture
def server(release: Release) -> Iterator[ValkeyServer]:
    with valkey_server(release) as server:
        yield server


@pytest.fixture
def make(host: Host, monkeypatch: pytest.MonkeyPatch) -> MakeDatabases:
    """Return what makes a provisioner as kennel.toml would.

    It is given the server (or its URL) and more settings.
    """

    def make(server: ValkeyServer | str, **settings: object) -> DatabaseProvisioner:
        url = server if isinstance(server, str) else server.url
        monkeypatch.setenv("TEST_VALKEY_URL", url)
        table = {"url": "env:TEST_VALKEY_URL", **settings}
        (made,) = kennel_provisioners(PluginSettings({"valkey": table}, host))
        assert isinstance(made, DatabaseProvisioner)
        return made

    return make
