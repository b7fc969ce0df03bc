"""Cloudflare's API, version 4.

After a refusal for coming too often, or an error of its own, it is left in peace for a while:
it counts all requests of a person, and locks out who goes on. Source:
https://developers.cloudflare.com/fundamentals/api/reference/limits/
"""

import time
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

import httpx
import msgspec

from kennel.domain import Secret
from kennel.errors import ConfigError, ProviderError, Rejected, Unavailable

T = TypeVar("T")
TIMEOUT = httpx.Timeout(20.0, connect=5.0)
PAGE = 100
FIRST_PAUSE, LONGEST_PAUSE, WHEN_THROTTLED = 0.5, 60.0, 300.0
"""Seconds: after an error, at most, and after a refusal that does not say how long."""

EXISTS = frozenset({81053, 81057, 81058})
MISSING = frozenset({81044})


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Info(msgspec.Struct):
    total_pages: int = 1


class _Envelope(msgspec.Struct):
    success: bool
    errors: list[_Error] = []
    result: msgspec.Raw = msgspec.Raw(b"null")
    result_info: _Info | None = None


class Refusal(Exception):
    """The API says no to one request. `code`: its own number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """Asks the API at a URL. Every method raises Unavailable, Rejected and Refusal."""

    def __init__(self, url: str, token: Secret) -> None:
        if not (token.value.isascii() and token.value.isprintable()):
            raise ConfigError("[plugins.cloudflare] token: it is not one line of ASCII")
        self._url = url
        self._client = httpx.AsyncClient(
            base_url=url, timeout=TIMEOUT, headers={"Authorization": f"Bearer {token.value}"}
        )
        self._pause = 0.0
        self._asked_again_at = 0.0

    async def close(self) -> None:
        await self._client.aclose()

    async def one(self, method: str, path: str, shape: type[T], body: object = None) -> T:
        """Ask for one thing, or change it."""
        envelope = await self._ask(method, path, None, body)
        return self._read(envelope.result, shape)

    async def every(
        self, path: str, shape: type[T], query: Mapping[str, str] | None = None
    ) -> AsyncIterator[T]:
        """Yield what is on all the pages of a list."""
        page = last = 1
        while page <= last:
            asked = {**(query or {}), "page": str(page), "per_page": str(PAGE)}
            envelope = await self._ask("GET", path, asked, None)
            for one in self._read(envelope.result, list[shape]):  # type: ignore[valid-type]
                yield one
            last = envelope.result_info.total_pages if envelope.result_info else 1
            page += 1

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None, body: object
    ) -> _Envelope:
        if (left := self._asked_again_at - time.monotonic()) > 0:
            raise Unavailable(f"cloudflare: it is asked again in {left:.0f} s")
        try:
            answer = await self._client.request(method, path, params=query, json=body)
        except httpx.HTTPError as error:
            self._leave_in_peace()
            what = str(error) or type(error).__name__
            raise Unavailable(f"cloudflare: {self._url} does not answer: {what}") from error
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            seconds = self._leave_in_peace(answer.headers.get("retry-after", ""))
            raise Unavailable(
                f"cloudflare: too many requests: it is asked again in {seconds:.0f} s"
            )
        if answer.is_server_error:
            self._leave_in_peace()
            raise Unavailable(f"cloudflare: it has a problem of its own ({answer.status_code})")
        self._pause = 0.0
        return self._opened(answer)

    def _leave_in_peace(self, retry_after: str | None = None) -> float:
        """Ask nothing for a while. Return for how many seconds."""
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        seconds = self._pause
        if retry_after is not None:
            seconds = float(retry_after) if retry_after.isdigit() else WHEN_THROTTLED
        self._asked_again_at = time.monotonic() + seconds
        return seconds

    def _opened(self, answer: httpx.Response) -> _Envelope:
        try:
            envelope = msgspec.json.decode(answer.content, type=_Envelope)
        except msgspec.DecodeError as error:
            raise Unavailable(
                f"cloudflare: {self._url} answers what is not its API: {error}"
            ) from None
        if envelope.success and answer.is_success:
            return envelope
        first = envelope.errors[0] if envelope.errors else _Error(message="it does not say why")
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise Rejected(
                f"cloudflare: the token is refused ({first.code} {first.message}): [plugins."
                "cloudflare] token has to be one with the right Zone → DNS → Edit for each zone"
            )
        raise Refusal(first.code, first.message)

    def _read(self, raw: msgspec.Raw, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(raw, type=shape)
        except msgspec.DecodeError as error:
            raise Unavailable(f"cloudflare: an answer is not what its API says: {error}") from None


def explained(refusal: Refusal, host: str) -> ProviderError:
    """Return what a refusal that nobody expected means for a host."""
    return Rejected(f"cloudflare: {host}: {refusal.code} {refusal}")
