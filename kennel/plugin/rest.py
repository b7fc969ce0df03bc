"""How the HTTP APIs of git forges are asked, for plugins that offer a `Forge`.

What goes wrong is `Unavailable` (the forge is away, or busy) or `Rejected` (somebody has to act),
in words for people. No token is in any of them.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, TypeAlias, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from msgspec import Meta

from kennel.domain import Repository, Secret
from kennel.errors import Rejected, Unavailable
from kennel.plugin.threads import in_thread
from kennel.plugin.webhook import decode, shown

T = TypeVar("T")
ApiUrl: TypeAlias = Annotated[
    str,
    Meta(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$", examples=["https://git.example.net/api/v1"]),
]
"""Where an API is, as a plugin's setting."""
TIMEOUT = httpx.Timeout(20.0, connect=10.0)
MOST_REDIRECTS = 3
USER_AGENT = "kennel"
SCP = re.compile(r"(?:[^@/:]+@)?(\[[^\]/]+\]|[^@/:\[\]]+):(?!//)(?P<path>[^\s].*)")
"""`git@host:owner/name.git`."""
BUSY = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS})
DENIED = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND})
"""What a private repository answers to those who may not read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a forge answered. `total`: how many there are on all pages, where it says so."""

    url: str
    body: bytes
    more: bool
    total: int | None

    def read(self, shape: type[T]) -> T:
        """Return its JSON as `shape`. Raises `Unavailable` for what is cut off, or not that."""
        try:
            return decode(shape, self.body)
        except ValueError as error:
            raise Unavailable(f"{self.url}: {error}") from error


class Rest:
    """A client for one kind of forge, to be closed with the provider it belongs to."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _opened(self) -> httpx.AsyncClient:
        """Return the client. Most Kennels never need one."""
        async with self._opening:
            if self._client is None:
                self._client = httpx.AsyncClient(
                    verify=await in_thread(_certificates),
                    timeout=TIMEOUT,
                    follow_redirects=True,  # a renamed one; to another host without the token
                    max_redirects=MOST_REDIRECTS,
                    headers={"User-Agent": USER_AGENT},
                )
            return self._client

    async def get(
        self,
        url: str,
        *,
        token: Secret,
        scheme: str,
        needs: str,
        query: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for something.

        `scheme`: the word before the token in `Authorization`. `needs`: what the token must be
        allowed, for whoever has to make another. Raises `Unavailable` and `Rejected`.
        """
        if not (token.value.isascii() and token.value.isprintable()):
            raise Rejected(
                f"{url}: the token has characters that no token has, or more than a line"
            )
        client = await self._opened()
        sent = {**(headers or {}), "Authorization": f"{scheme} {token.value}"}
        try:
            answer = await client.get(
                url, params={key: str(value) for key, value in query.items()}, headers=sent
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise Rejected(f"{url}: {error}") from error
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"{url} does not answer: {what}") from error
        if not answer.is_success:
            raise refused(url, answer, needs)
        return Answer(
            url=url,
            body=answer.content,
            more="next" in answer.links,
            total=_number(answer.headers.get("x-total-count", "")),
        )


@cache
def _certificates() -> ssl.SSLContext:
    """Return whom we believe, for all clients: there are many to be read."""
    return httpx.create_ssl_context()


def refused(url: str, answer: httpx.Response, needs: str) -> Unavailable | Rejected:
    """Return the error that an answer stands for which is no success."""
    status = f"{answer.status_code} {answer.reason_phrase}".strip()
    said = f"{status}, {shown(answer.text)}" if answer.text.strip() else status
    if answer.status_code in BUSY or answer.is_server_error or _is_limited(answer):
        return Unavailable(f"{url} cannot answer now ({said})")
    if answer.status_code in DENIED:
        return Rejected(
            f"{url} does not let us in, or there is no such repository ({said}): give the project"
            f" a token that {needs}"
        )
    return Rejected(f"{url} refuses to answer ({said})")


def _is_limited(answer: httpx.Response) -> bool:
    """Return whether we asked too often. GitHub says so with 403 as well."""
    return "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def site_of(repository: Repository) -> str | None:
    """Return where a repository's forge is, such as `https://git.example.net`, from its clone URL.

    Over ssh it is taken to be at the same host, by https. None for a path on this machine.
    """
    url = repository.clone_url
    parts = urlsplit(url) if "://" in url else None
    if parts is not None and parts.scheme in {"http", "https"}:
        place = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{place}{_below(parts.path, repository.full_name)}"
    if parts is not None and parts.scheme in {"ssh", "git"} and parts.hostname:
        return (
            f"https://[{parts.hostname}]" if ":" in parts.hostname else f"https://{parts.hostname}"
        )
    if parts is None and (scp := SCP.fullmatch(url)):
        return f"https://{scp[1]}"
    return None


def _below(path: str, full_name: str) -> str:
    """Return the folder that a forge is in at its host, mostly ""."""
    path = path.removesuffix("/").removesuffix(".git")
    name = f"/{full_name}"
    return path[: -len(name)] if path.lower().endswith(name.lower()) else ""


def refuse_another(url: str, repository: Repository, numbers: Iterable[int]) -> None:
    """Raise `Rejected` if a repository does not have the id by which it is known.

    Somebody may have taken the name of one that was renamed or deleted.
    """
    if repository.id and any(str(number) != repository.id for number in numbers):
        raise Rejected(
            f"{url}: {repository.full_name} is another repository now than the one that was"
            " registered: remove the project, and add it again"
        )


def path_of(repository: Repository) -> str:
    """Return OWNER/NAME as it stands in the path of a URL."""
    parts = [quote(part, safe="") for part in repository.full_name.split("/")]
    return "/".join(part.replace(".", "%2E") if part in {".", ".."} else part for part in parts)
