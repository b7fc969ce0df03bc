"""Kennel's part in the configuration of a Caddy that is somebody else's. Pure.

Everything that is Kennel's has an `@id` of its own; nothing else is ever changed. What is grafted
onto a configuration is a function of that configuration and of the routes alone, so "is it in
force?" is one comparison, and whatever somebody did to it is put right by the next write.

* `kennel`: one route, the first of the server that listens on the port. First, because whatever
  stands before it (a wildcard, a catch-all) would take its requests; it names its own hosts and
  so takes nobody else's.
* `kennel-unknown`: the last route there. Hosts below Kennel's domain that nobody has are 404,
  where Caddy would say 200 with an empty page.
* `kennel-tls`: how those hosts get certificates, and `kennel-permission`: who is asked first.
* `kennel-server`: the server, if none listens on the port.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.builtin.caddy.config import Config
from kennel.builtin.caddy.policy import policy
from kennel.builtin.caddy.table import no_deployment, subroute
from kennel.domain import Route

Json = dict[str, Any]

ROUTE, UNKNOWN, SERVER = "kennel", "kennel-unknown", "kennel-server"
POLICY, PERMISSION = "kennel-tls", "kennel-permission"
NAME = "kennel"
"""What the server is called if Kennel has to make it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graft:
    """What is grafted. `domain`: hosts below it are Kennel's. The rest: see `Layout`."""

    config: Config
    live: Path
    domain: str
    permission: str

    def document(self, config: Json, routes: Collection[Route]) -> Json:
        """Return the configuration with these routes as Kennel's, and nothing else changed."""
        made = copy.deepcopy(config)
        _prune(made)
        if routes:
            self._add(made.setdefault("apps", {}), routes)
        return made

    @property
    def _port(self) -> int:
        http, https = self.config.ports
        return http if self.config.tls_mode == "none" else https

    def _add(self, apps: Json, routes: Collection[Route]) -> None:
        servers = apps.setdefault("http", {}).setdefault("servers", {})
        name = server_on(servers, self._port)
        server = servers[name] if name else servers.setdefault(_free(servers), self._server())
        server["routes"] = [
            self._route(routes),
            *(server.get("routes") or []),
            self._unknown(),
        ]
        if self.config.encrypts:
            self._add_policy(apps.setdefault("tls", {}), routes)

    def _route(self, routes: Collection[Route]) -> Json:
        """Return Kennel's route.

        Caddy looks after certificates for the hosts that a server's own routes name, and sends
        plain HTTP on to them. Where that is not Kennel's business they are named one level deeper.
        """
        table = subroute(routes, self.live, self.config, [])
        hosts = sorted({host for route in routes for host in route.names})
        named = {"match": [{"host": hosts}], "handle": [table], "terminal": True}
        if self.config.encrypts:
            return {"@id": ROUTE, **named}
        return {"@id": ROUTE, **_deeper(named)}

    def _unknown(self) -> Json:
        """Return the last route: deeper too, or Caddy would order a wildcard certificate."""
        below = {"match": [{"host": [f"*.{self.domain}"]}], **no_deployment()}
        return {"@id": UNKNOWN, **_deeper(below)}

    def _server(self) -> Json:
        made: Json = {"@id": SERVER, "listen": [f":{self._port}"]}
        if self.config.tls_mode == "none":
            return {**made, "automatic_https": {"disable": True}}
        return {
            **made,
            "tls_connection_policies": [{}],
            "protocols": list(self.config.protocols),
        }

    def _add_policy(self, tls: Json, routes: Collection[Route]) -> None:
        automation = tls.setdefault("automation", {})
        hosts = {host for route in routes for host in route.names}
        ours = {"@id": POLICY, **policy(self.config, hosts)}
        automation["policies"] = [ours, *(automation.get("policies") or [])]
        if not automation.get("on_demand"):
            asked = {"module": "http", "endpoint": self.permission}
            automation["on_demand"] = {"@id": PERMISSION, "permission": asked}


def server_on(servers: Json, port: int) -> str | None:
    """Return the name of the server that listens on a port, rather on all addresses than on one."""
    found = [
        (not wide, name)
        for name, server in servers.items()
        for wide in [_listens(server.get("listen") or [], port)]
        if wide is not None
    ]
    return min(found)[1] if found else None


def _deeper(route: Json) -> Json:
    return {"handle": [{"handler": "subroute", "routes": [route]}]}


def _listens(addresses: Collection[str], port: int) -> bool | None:
    """Return whether a server listens on a port at all addresses; None if at none."""
    hosts = [host for host, ports in map(_address, addresses) if port in ports]
    return any(host in ("", "0.0.0.0", "[::]") for host in hosts) if hosts else None  # noqa: S104


def _address(text: str) -> tuple[str, range]:
    """Return the host and the ports of a network address such as `tcp/[::1]:8000-8010`."""
    network, slash, rest = text.rpartition("/")
    if slash and not network.startswith("tcp"):
        return "", range(0)
    host, _, ports = rest.rpartition(":")
    first, _, last = ports.partition("-")
    if not first.isdecimal():
        return "", range(0)
    return host, range(int(first), int(last or first) + 1)


def _free(servers: Json) -> str:
    name = NAME
    while name in servers:
        name += "-"
    return name


def _prune(config: Json) -> None:
    """Take everything of Kennel's out."""
    apps = config.get("apps") or {}
    servers = (apps.get("http") or {}).get("servers") or {}
    for name in [name for name, server in servers.items() if server.get("@id") == SERVER]:
        del servers[name]
    for server in servers.values():
        if server.get("routes"):
            server["routes"] = _without(server["routes"], {ROUTE, UNKNOWN})
    automation = (apps.get("tls") or {}).get("automation") or {}
    if automation.get("policies"):
        automation["policies"] = _without(automation["policies"], {POLICY})
    if (automation.get("on_demand") or {}).get("@id") == PERMISSION:
        del automation["on_demand"]


def _without(items: list[Json], ids: set[str]) -> list[Json]:
    return [item for item in items if item.get("@id") not in ids]
