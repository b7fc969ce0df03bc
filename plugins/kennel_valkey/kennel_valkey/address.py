"""Where a server is, and how tenants are told. Pure."""

from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, quote, urlsplit

from kennel.domain import Secret

SCHEMES = {"valkey": "redis", "valkeys": "rediss", "redis": "redis", "rediss": "rediss"}
"""How addresses over TCP begin, and what every client takes."""

PORT = 6379

Form: TypeAlias = Literal["unix", "redis+unix"]
"""How the URL of a socket is written: for most clients, and for redis-rs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who one is on a server, and in which of its databases."""

    user: str
    password: Secret
    number: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address. `scheme`: "unix", "redis" or "rediss" (TLS); `place`: path or host."""

    scheme: str
    place: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read the address in a URL, less what it says of users and databases.

        Raises ValueError, which shows nothing of the URL, for what is not one.
        """
        parts = urlsplit(url)
        if parts.scheme == "unix":
            if not parts.path.startswith("/"):
                raise ValueError("the path of a socket begins with a slash: unix:///PATH")
            return cls("unix", parts.path)
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ValueError("it is written unix:///PATH, redis://HOST:PORT or rediss://HOST:PORT")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(SCHEMES[parts.scheme], f"{host}:{parts.port or PORT}")

    def url(self, account: Account, form: Form = "unix") -> Secret:
        """Return the URL that leads an account to its database.

        Over TCP all clients read the same. That of a socket is of the form that valkey-py,
        redis-py, ioredis and go-redis read, or of that which redis-rs does.
        """
        user, password = quote(account.user, safe=""), quote(account.password.value, safe="")
        if self.scheme != "unix":
            return Secret(f"{self.scheme}://{user}:{password}@{self.place}/{account.number}")
        path = quote(self.place)
        if form == "redis+unix":
            return Secret(f"redis+unix://{path}?db={account.number}&user={user}&pass={password}")
        return Secret(f"unix://{user}:{password}@{path}?db={account.number}")


def number_of(url: str) -> str:
    """Return the database that a URL names, or nothing."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query).get("db")
    return asked[0] if asked else "" if parts.scheme == "unix" else parts.path.strip("/")
