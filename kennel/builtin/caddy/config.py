"""`[plugins.caddy]` of kennel.toml."""

import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from kennel.plugin import PluginConfig

Port = Annotated[int, Meta(ge=1, le=65535)]
Tls = Literal["internal", "on_demand", "none", "external"]
Protocol = Literal["h1", "h2", "h3"]

HTTP, HTTPS = 80, 443
"""The ports that an address need not name."""
NET_BIND_SERVICE = 10
"""The number of the capability to listen below port 1024: see capabilities(7)."""
YEAR = 365 * 24 * 3600


class Config(PluginConfig, frozen=True):
    """How traffic comes in.

    `admin`: where the admin API of a Caddy answers that somebody else runs: `unix//PATH` or
    `http://HOST:PORT`. Without it Kennel starts a Caddy of its own ("embedded").

    `tls`: "internal" has Caddy's own authority sign (the default when embedded), "on_demand"
    asks an ACME authority when a host is first visited (the default otherwise), "external" means
    that certificates are somebody else's business, "none" is plain HTTP.

    `http_port`, `https_port`: embedded, what to listen on (80 and 443 where that is allowed, else
    8080 and 8443); otherwise what the server to add routes to listens on (80 and 443).

    `addresses`, `binary`, `trusted_proxies`: embedded only. The addresses to listen on: all, but
    only this machine's own where the domain is `localhost`. The program: the one installed
    beside Kennel, else the one on PATH. Networks whose X-Forwarded-For is believed.

    `acme_ca`, `email`: for "on_demand": the authority's directory and the account's address.

    `group`: the group that the other Caddy runs as. Without it everybody may read which port or
    path a deployment has.

    `hsts`: seconds for which browsers are told to come with HTTPS only; 0: they are told nothing.
    A year where an ACME authority signs ("on_demand"), else nothing: who trusts Caddy's own
    authority can take that back, and where TLS is somebody else's business, so is this.

    `protocols`: the versions of HTTP that are spoken over TLS, by a server that Kennel adds.

    `stream_close_delay`: seconds that a WebSocket goes on after the table of hosts changed. It
    is so long because ending is the service's business: its WebSockets end when it does.
    """

    admin: Annotated[str, Meta(pattern="^(unix//.|https?://.)")] | None = None
    tls: Tls | None = None
    http_port: Port | None = None
    https_port: Port | None = None
    addresses: tuple[str, ...] | None = None
    binary: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    acme_ca: str | None = None
    email: str | None = None
    group: str | None = None
    hsts: Annotated[int, Meta(ge=0)] | None = None
    protocols: Annotated[tuple[Protocol, ...], Meta(min_length=1)] = ("h1", "h2", "h3")
    stream_close_delay: Annotated[int, Meta(ge=0)] = 24 * 3600

    @property
    def embedded(self) -> bool:
        return self.admin is None

    @property
    def admin_port(self) -> int | None:
        """Return the port of the admin API; None if it answers on a socket."""
        address = urlsplit(self.admin or "")
        return address.port or {"http": HTTP, "https": HTTPS}.get(address.scheme)

    @property
    def tls_mode(self) -> Tls:
        return self.tls or ("internal" if self.embedded else "on_demand")

    @property
    def encrypts(self) -> bool:
        """Return whether certificates are Kennel's business."""
        return self.tls_mode in ("internal", "on_demand")

    @property
    def hsts_seconds(self) -> int:
        """Return for how long browsers are told to come with HTTPS only; 0: they are not."""
        if self.tls_mode == "none":
            return 0
        return (YEAR if self.tls_mode == "on_demand" else 0) if self.hsts is None else self.hsts

    @property
    def ports(self) -> tuple[int, int]:
        """Return the ports of HTTP and HTTPS. The first call may block."""
        if self.http_port and self.https_port:
            return self.http_port, self.https_port
        low = not self.embedded or _may_bind_low_ports()
        http, https = (HTTP, HTTPS) if low else (8080, 8443)
        return self.http_port or http, self.https_port or https

    @property
    def origin(self) -> tuple[str, int | None]:
        """Return the scheme of every address, and its port unless that goes without saying."""
        http, https = self.ports
        if self.tls_mode == "none":
            return "http", None if http == HTTP else http
        if self.tls_mode == "external" and self.embedded:
            return "https", None
        return "https", None if https == HTTPS else https

    def url(self, host: str) -> str:
        """Return the address at which people reach a host. The first call may block."""
        scheme, port = self.origin
        return f"{scheme}://{host}" + (f":{port}" if port else "")


@cache
def _may_bind_low_ports() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> NET_BIND_SERVICE & 1)
