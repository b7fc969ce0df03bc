"""Whether a service is ready to be sent traffic."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx

from kennel.domain import Ready, Unit

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.25
SHARE = 0.1
"""Of the time since the start, the part that is waited between two looks: so much, and no more,
is lost by looking too late."""
PROBE_TIMEOUT = 5.0
LIFE_EVERY = 0.5
"""Seconds between looks at the supervisor while a service does not answer."""


class NotReady(Exception):
    """A service did not become ready. The message tells a developer what was seen."""


class Probe:
    """Asks services on this machine, over one HTTP client."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            timeout=PROBE_TIMEOUT, limits=limits, trust_env=False, follow_redirects=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def wait(
        self,
        unit: Unit,
        ready: Ready,
        *,
        within: float,
        host: str,
        ended: Callable[[], Awaitable[str | None]],
    ) -> None:
        """Return when a unit is ready. Raises NotReady after `within` seconds.

        `host` goes into the Host header, since some frameworks refuse others. `ended` tells why
        the unit is not there any more, or None while it is.
        """
        begun = asked = time.monotonic()
        while (problem := await self.look(unit, ready, host=host)) is not None:
            now = time.monotonic()
            if now - begun > within:
                raise NotReady(f"not ready after {within:g} s: {problem}")
            if now - asked > LIFE_EVERY:
                asked = now
                if (why := await ended()) is not None:
                    raise NotReady(f"{why} before it was ready: {problem}")
            await asyncio.sleep(min(max(FIRST_PAUSE, (now - begun) * SHARE), LONGEST_PAUSE))

    async def look(self, unit: Unit, ready: Ready, *, host: str) -> str | None:
        """Ask once. Return None if the unit is ready, else what was seen."""
        if ready.path is None:
            return await _connects(unit)
        url = f"http://{unit.address}:{unit.port}{ready.path}"
        try:
            async with (
                asyncio.timeout(PROBE_TIMEOUT),
                self._client.stream("GET", url, headers={"host": host}) as answer,
            ):
                pass  # its body may have no end
        except (httpx.TimeoutException, TimeoutError):
            return f"GET {url}: no answer within {PROBE_TIMEOUT:g} s"
        except httpx.HTTPError as error:
            return f"GET {url}: {_plain(error, unit)}"
        if answer.status_code < httpx.codes.BAD_REQUEST:
            return None
        return f"GET {url}: status {answer.status_code}"


async def _connects(unit: Unit) -> str | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            _, writer = await asyncio.open_connection(unit.address, unit.port)
    except (OSError, TimeoutError) as error:
        return f"connecting to {unit.address}:{unit.port}: {_plain(error, unit)}"
    writer.close()
    return None


def _plain(error: Exception, unit: Unit) -> str:
    if isinstance(error, (ConnectionRefusedError, httpx.ConnectError)):
        return f"nothing listens there. Does the service listen on $PORT (here {unit.port})?"
    return str(error) or type(error).__name__
