"""Caddy's admin API: read the configuration, replace a part of it.

Format: https://caddyserver.com/docs/api
"""

import asyncio
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from kennel.errors import Rejected, Unavailable

Json = dict[str, Any]

UNIX = "unix/"
TIMEOUT = 30.0
"""Seconds for one call. A write answers when the new configuration is in force."""

AGAIN = 0.02
"""Seconds until a request is sent again whose connection was closed."""


class Stale(Exception):
    """Somebody changed the configuration after it was read. Never leaves this plugin."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The configuration as it was read. `etag` is "" if Caddy gives none (before 2.8)."""

    raw: bytes
    etag: str

    @property
    def config(self) -> Json:
        return json.loads(self.raw) or {}


class Admin:
    """A connection to the admin API at `unix//PATH` or `http://HOST:PORT`."""

    def __init__(self, place: str) -> None:
        self.place = place
        if place.startswith(UNIX):
            transport = httpx.AsyncHTTPTransport(uds=place.removeprefix(UNIX))
            # The one name that every version from 2.8 on lets in over a socket.
            url = "http://127.0.0.1"
        else:
            transport, url = httpx.AsyncHTTPTransport(), place
        self._client = httpx.AsyncClient(transport=transport, base_url=url, timeout=TIMEOUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def read(self) -> Seen:
        """Return the whole configuration."""
        answer = await self._ask("GET", "/config/")
        return Seen(answer.content, answer.headers.get("etag", ""))

    async def replace(self, path: str, value: object, seen: Seen) -> None:
        """Put `value` where something is already. Raises Stale if it is not as it was seen."""
        await self._ask("PATCH", f"/config/{path}", value, {"If-Match": seen.etag})

    async def put(self, path: str, value: object, seen: Seen) -> None:
        """Put `value` where there may be nothing. Raises Stale if it is not as it was seen."""
        await self._ask("POST", f"/config/{path}", value, {"If-Match": seen.etag})

    async def load(self, config: Json) -> None:
        """Replace everything, unless it is the same."""
        await self._ask("POST", "/load", config)

    async def _ask(
        self, method: str, path: str, value: object = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        body = None if method == "GET" else json.dumps(value).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        answer = await self._send(self._client.build_request, method, path, body, sent)
        if answer.status_code == httpx.codes.PRECONDITION_FAILED:
            raise Stale
        if answer.is_error:
            raise Rejected(f"Caddy refuses {method} {path}: {_reason(answer)}")
        return answer

    async def _send(
        self, build: Any, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> httpx.Response:
        """Send a request, again if need be.

        With each change, somebody else's too, Caddy closes the connections that there are.
        Nothing is done twice for it: a write says which configuration it is for.
        """
        for last in (False, False, True):
            try:
                return await self._client.send(build(method, path, content=body, headers=headers))
            except httpx.TransportError as error:
                away = isinstance(error, httpx.TimeoutException | httpx.ConnectError)
                if last or away:
                    raise Unavailable(self._silence(error)) from error
                await asyncio.sleep(AGAIN)
        raise AssertionError  # pragma: no cover - the loop ends in one of the two

    def _silence(self, error: Exception) -> str:
        what = str(error) or type(error).__name__
        return (
            f"Caddy's admin API at {self.place} does not answer ({what})."
            " Is Caddy running, and may Kennel open this address?"
        )


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:200]}"
