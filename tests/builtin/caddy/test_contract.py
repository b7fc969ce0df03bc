"""Caddy in both its shapes passes the contract of every router."""

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from kennel.builtin.caddy import CaddyRouter, Config
from kennel.plugin import Router
from kennel.plugin.settings import Host
from kennel.testing.router import MakeRouter, RouterContract


def last_reload(socket: Path) -> str:
    """Return when a Caddy took a new configuration last: what it tells its monitoring."""
    transport = httpx.HTTPTransport(uds=str(socket))
    with httpx.Client(transport=transport, base_url="http://127.0.0.1") as client:
        lines = client.get("/metrics").text.splitlines()
    return next(line for line in lines if line.startswith("caddy_config_last_reload_success_t"))


class TestEmbedded(RouterContract):
    host_: Host
    api: Any

    @pytest.fixture
    def make_router(self, make_embedded: Any, host: Host) -> MakeRouter:
        self.host_ = host
        return make_embedded  # type: ignore[no-any-return]

    def version(self) -> object:
        return last_reload(self.host_.run_dir / "caddy" / "admin.sock")


class TestEmbeddedEncrypted(RouterContract):
    opened: CaddyRouter

    @pytest.fixture
    def make_router(self, make_embedded: Any, host: Host, api: Any) -> MakeRouter:
        known = Host(
            state_dir=host.state_dir, run_dir=host.run_dir, domain=host.domain, api_url=api.url
        )

        def make() -> Router:
            self.opened = make_embedded(known, tls="internal")
            return self.opened

        return make

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.opened.ca_certificate))

    def version(self) -> object:
        return last_reload(self.opened._folder / "admin.sock")


class TestGrafted(RouterContract):
    foreign: Any
    place: Path

    @pytest.fixture(autouse=True)
    def there_is_a_place(self, place: Path) -> None:
        self.place = place

    @pytest.fixture
    async def make_router(
        self, make_grafted: Any, make_foreign: Any, ports: tuple[int, int]
    ) -> MakeRouter:
        server = {"listen": [f":{ports[0]}"], "automatic_https": {"disable": True}}
        self.foreign = await make_foreign({"http": {"servers": {"theirs": server}}})
        return lambda: make_grafted(self.foreign)

    def version(self) -> object:
        return self.foreign.writes()

    def unreachable(self) -> Router:
        host = Host(state_dir=Path("/nowhere"), run_dir=Path(self.place))
        return CaddyRouter(Config(admin="unix//nowhere/admin.sock"), host)
