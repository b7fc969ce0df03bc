"""The part of a forge's HTTP API that tells of pull requests, as a real server for tests.

with GiteaApi(ForgejoSender(secret="s3cret")) as api:
    api.pulls.append(api.sender.pull(7, "c0ffee" + "0" * 34))
    ...  # ask for the pull requests of api.repository
"""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from kennel.domain import Repository
from kennel.testing.deliveries import Sender

POLL = 0.02
"""Seconds between looks whether the server is to end."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is answered. `cut`: how many bytes are announced and never come."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0

    @classmethod
    def of(cls, value: object, status: int = 200) -> "Reply":
        """Return a value as JSON."""
        return cls(status=status, body=json.dumps(value).encode())


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came in. Header names are lower case."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class ForgeApi(ABC):
    """A server with one private repository, which only its token opens.

    `pulls`: as the API shows them, closed ones too. `replies`: what is answered instead, by page.
    `before`: what happens before a page is answered. `moved`: where requests for another
    repository are sent, by its full name.
    """

    prefix: ClassVar[str]
    size: int = 30
    """Pull requests on a page, if nobody asks for more or less."""
    most: int
    """Pull requests on a page, whatever is asked for."""

    def __init__(self, sender: Sender) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL,))
        self.site = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.site}{self.prefix}"
        self.token = "t0ken-that-nobody-may-see"  # noqa: S105  opens nothing but this
        self.sender = replace(sender, clone_url=f"{self.site}/{sender.full_name}.git")
        self.pulls: list[dict[str, Any]] = []
        self.replies: dict[int, Reply] = {}
        self.before: dict[int, Callable[[], object]] = {}
        self.moved: dict[str, str] = {}
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def repository(self) -> Repository:
        """Return the repository as webhooks tell of it."""
        return Repository(
            forge=self.sender.forge,
            id=str(self.sender.id),
            full_name=self.sender.full_name,
            clone_url=self.sender.clone_url,
            default_branch=self.sender.default_branch,
        )

    def path(self, full_name: str) -> str:
        return f"{self.prefix}/repos/{full_name}/pulls"

    def answer(self, asked: Asked) -> Reply:
        """Answer as the forge would."""
        self.asked.append(asked)
        page = int(asked.query.get("page", 1))
        self.before.get(page, lambda: None)()
        for full_name, target in self.moved.items():
            if asked.path == self.path(full_name):
                return Reply(status=301, headers={"Location": target})
        if asked.path == self.path(self.sender.full_name) and page in self.replies:
            return self.replies[page]
        if refusal := self.refusal(asked):
            return refusal
        if asked.path != self.path(self.sender.full_name):
            return Reply.of({"message": "Not Found"}, 404)
        return self._page(asked, page)

    def _page(self, asked: Asked, page: int) -> Reply:
        state = asked.query.get("state", "open")
        chosen = [pull for pull in self.pulls if state in {"all", pull["state"]}]
        chosen.sort(key=lambda pull: pull["number"], reverse=not self.oldest_first(asked))
        size = min(int(asked.query.get(self.size_key, self.size)), self.most)
        shown = chosen[(page - 1) * size : page * size]
        last = max(1, -(-len(chosen) // size))
        links = {"next": page + 1, "last": last} if page < last else {}
        if page > 1:
            links |= {"first": 1, "prev": page - 1}
        headers = self.counted(len(chosen))
        if links:
            headers["Link"] = ", ".join(
                f'<{self.site}{asked.path}?{urlencode({**asked.query, "page": at})}>; rel="{name}"'
                for name, at in links.items()
            )
        return replace(Reply.of(shown), headers=headers)

    @property
    @abstractmethod
    def size_key(self) -> str:
        """Return what the size of a page is called in a query."""

    @abstractmethod
    def oldest_first(self, asked: Asked) -> bool:
        """Return whether the oldest is to come first; by default it is the newest."""

    @abstractmethod
    def counted(self, total: int) -> dict[str, str]:
        """Return the headers that tell how many there are."""

    @abstractmethod
    def refusal(self, asked: Asked) -> Reply | None:
        """Return what is said to who may not ask."""


class GiteaApi(ForgeApi):
    """Forgejo and Gitea."""

    prefix = "/api/v1"
    most = 50

    @property
    def size_key(self) -> str:
        return "limit"

    def oldest_first(self, asked: Asked) -> bool:
        return asked.query.get("sort") == "oldest"

    def counted(self, total: int) -> dict[str, str]:
        return {"X-Total-Count": str(total)}

    def refusal(self, asked: Asked) -> Reply | None:
        given = asked.headers.get("authorization", "")
        if not given:
            return Reply.of({"message": "not found"}, 404)
        if given not in {f"token {self.token}", f"Bearer {self.token}"}:
            return Reply.of({"message": "invalid username, password or token"}, 401)
        return None


class GitHubApi(ForgeApi):
    """GitHub Enterprise Server; github.com has another prefix."""

    prefix = "/api/v3"
    most = 100

    @property
    def size_key(self) -> str:
        return "per_page"

    def oldest_first(self, asked: Asked) -> bool:
        return asked.query.get("direction") == "asc"

    def counted(self, total: int) -> dict[str, str]:
        del total
        return {}

    def refusal(self, asked: Asked) -> Reply | None:
        if not asked.headers.get("user-agent"):
            return Reply(status=403, body=b"Request forbidden by administrative rules.")
        given = asked.headers.get("authorization", "")
        if not given:
            return Reply.of({"message": "Not Found"}, 404)
        if given not in {f"Bearer {self.token}", f"token {self.token}"}:
            return Reply.of({"message": "Bad credentials"}, 401)
        return None


def _handler(api: ForgeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            self._send(api.answer(Asked(path=parts.path, query=query, headers=headers)))

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.cut))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = self.close_connection or bool(reply.cut)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
