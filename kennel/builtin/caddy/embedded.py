"""The whole configuration of the Caddy that Kennel starts itself. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM, SocketKind
from typing import Any

from kennel.builtin.caddy.config import Config
from kennel.builtin.caddy.policy import policy
from kennel.builtin.caddy.process import LOG
from kennel.builtin.caddy.table import no_deployment, subroute
from kennel.domain import Route

Json = dict[str, Any]

ID = "kennel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the configuration is made of besides the routes.

    `live`: the folder of links. `socket`: of the admin API. `state`: for keys and certificates.
    `addresses`: to listen on, "" for all. `permission`: who is asked about a host's certificate.
    """

    config: Config
    live: Path
    socket: Path
    state: Path
    addresses: tuple[str, ...]
    permission: str

    @property
    def admin(self) -> str:
        """Return the address of the admin API, for its owner alone."""
        return f"unix/{self.socket}|0600"

    def document(self, routes: Collection[Route]) -> Json:
        """Return the configuration with these routes."""
        http, https = self.config.ports
        apps: Json = {
            "http": {"http_port": http, "https_port": https, "servers": self._servers(routes)}
        }
        if self.config.encrypts:
            apps["tls"] = self._tls()
        if self.config.tls_mode == "internal":
            # Nobody's trust store is touched: people choose to trust the root certificate.
            apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
        return {
            "admin": {
                "listen": self.admin,
                "origins": ["127.0.0.1", "localhost"],
                "config": {"persist": False},
            },
            "logging": {"logs": {"default": {"level": "WARN", "writer": self._log()}}},
            "storage": {"module": "file_system", "root": str(self.state)},
            "apps": apps,
        }

    @property
    def listens(self) -> dict[SocketKind, dict[str, int]]:
        """Return the ports that are listened on, by the setting that changes each."""
        http, https = self.config.ports
        secure = {"https_port": https} if self.config.encrypts else {}
        quic = secure if "h3" in self.config.protocols else {}
        return {SOCK_STREAM: {"http_port": http, **secure}, SOCK_DGRAM: quic}

    def _servers(self, routes: Collection[Route]) -> Json:
        http, https = self.config.ports
        table = subroute(routes, self.live, self.config, [no_deployment()])
        kennel: Json = {
            "listen": self._listen(https if self.config.encrypts else http),
            "routes": [{"@id": ID, "handle": [table]}],
            "automatic_https": {"disable": True},
        }
        if self.config.trusted_proxies:
            ranges = list(self.config.trusted_proxies)
            kennel["trusted_proxies"] = {"source": "static", "ranges": ranges}
        if not self.config.encrypts:
            return {"kennel": kennel}
        kennel |= {"tls_connection_policies": [{}], "protocols": list(self.config.protocols)}
        return {"kennel": kennel, "kennel-http": self._redirect(http)}

    def _redirect(self, http: int) -> Json:
        location = f"{self.config.url('{http.request.host}')}{{http.request.uri}}"
        handler = {
            "handler": "static_response",
            "status_code": 308,
            "headers": {"Location": [location], "Cache-Control": ["no-store"]},
        }
        return {
            "listen": self._listen(http),
            "routes": [{"handle": [handler]}],
            "automatic_https": {"disable": True},
        }

    def _listen(self, port: int) -> list[str]:
        return [f"{address}:{port}" for address in self.addresses]

    def _tls(self) -> Json:
        return {
            "automation": {
                "policies": [policy(self.config, ())],
                "on_demand": {"permission": {"module": "http", "endpoint": self.permission}},
            }
        }

    def _log(self) -> Json:
        name = str(self.state / LOG)
        return {"output": "file", "filename": name, "roll_size_mb": 10, "roll_keep": 2}
