"""What else the world can reach: health, what Caddy asks, limits, and errors."""

import logging
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from blockbuster import blockbuster_ctx
from litestar.routes import HTTPRoute

from kennel.builtin.forgejo import Forgejo
from kennel.domain import Repository, Secret
from kennel.domain.delivery import NewDelivery
from kennel.testing.forge import ForgejoSender
from kennel.web import create_control_app, create_public_app, listen_tcp, serve

PUSH = ForgejoSender(secret="s3cret").pushed("main", "a" * 40, "c" * 40)


class Everything:
    """Knows every project and one host."""

    def secrets(self) -> Iterable[tuple[str | None, Secret]]:
        return [(None, Secret("s3cret"))]

    def project_of(self, repository: Repository) -> str | None:
        return "shop"

    def admits(self, repository: Repository) -> bool:
        return False

    def knows_host(self, host: str) -> bool:
        return host == "shop-main.example.net"


class BrokenInbox:
    async def put(self, delivery: NewDelivery) -> int:
        raise OSError(f"no space left for {delivery.body!r} of s3cret")


class Inbox:
    async def put(self, delivery: NewDelivery) -> int:
        return 1


@asynccontextmanager
async def running(
    *, inbox: Inbox | BrokenInbox | None = None, proxies: Sequence[str] = (), **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_public_app(
        Everything(), inbox or Inbox(), [Forgejo()], **{"max_body": 100_000, **options}
    )
    async with (
        serve(app, listen_tcp("127.0.0.1", 0), trusted_proxies=proxies) as serving,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{serving.port}") as http,
    ):
        with blockbuster_ctx():  # a request never waits for a file or a lock
            yield http


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with running(proxies=["127.0.0.1"]) as http:
        yield http


async def push(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await http.post("/webhook", content=PUSH.body, headers={**PUSH.headers, **headers})


async def test_health(http: httpx.AsyncClient) -> None:
    answer = await http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/", "/schema", "/docs", "/api/health", "/webhook/x", "/%00"])
async def test_there_is_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("there is nothing at /")


async def test_nothing_of_the_control_socket_is_public(http: httpx.AsyncClient) -> None:
    nobody: Any = None
    control = create_control_app(nobody, nobody, nobody, nobody, nobody)
    asked = [
        (method, re.sub(r"\{[^}]*\}", "1", route.path))
        for route in control.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    ]
    assert ("GET", "/api/status") in asked
    for method, path in asked:
        for where in (path, path.removeprefix("/api"), f"/internal{path}"):
            if where != "/health":
                assert (await http.request(method, where)).status_code == 404, (method, where)


def test_the_public_pages_are_these() -> None:
    app = create_public_app(Everything(), Inbox(), [Forgejo()], max_body=1)
    assert {route.path for route in app.routes} == {
        "/webhook",
        "/health",
        "/internal/caddy/permission",
    }


async def test_a_hook_that_was_set_to_get_is_told_so(http: httpx.AsyncClient) -> None:
    answer = await http.get("/webhook", params={"payload": "{}"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "POST" in answer.json()["error"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, "/webhook")
    assert (answer.status_code, answer.json()) == (
        405,
        {"error": f"/webhook does not take {method}"},
    )


async def test_answers_do_not_say_what_made_them(http: httpx.AsyncClient) -> None:
    for path in ("/health", "/nothing", "/webhook"):
        assert "server" not in (await http.get(path)).headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop-main.example.net", 200),
        ("Shop-Main.Example.NET.", 200),
        ("other.example.net", 404),
        ("example.net", 404),
        ("", 404),
        ("\x00", 404),
    ],
)
async def test_caddy_gets_certificates_for_our_hosts_alone(
    http: httpx.AsyncClient, host: str, status: int
) -> None:
    answer = await http.get("/internal/caddy/permission", params={"domain": host})
    assert answer.status_code == status


async def test_caddy_may_forget_to_say_for_which(http: httpx.AsyncClient) -> None:
    assert (await http.get("/internal/caddy/permission")).status_code == 404


@pytest.mark.parametrize("proxies", [["127.0.0.1"], []], ids=["trusted", "untrusted"])
@pytest.mark.parametrize("client", ["192.0.2.1", "127.0.0.1", "192.0.2.1, 127.0.0.1", ""])
async def test_nobody_asks_it_through_a_proxy(proxies: list[str], client: str) -> None:
    async with running(proxies=proxies) as http:
        answer = await http.get(
            "/internal/caddy/permission",
            params={"domain": "shop-main.example.net"},
            headers={"X-Forwarded-For": client},
        )
    assert answer.status_code == 404


async def test_a_client_may_make_so_many_requests() -> None:
    async with running(requests_per_minute=3) as http:
        answers = [await push(http) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        assert "web.requests_per_minute" in answers[-1].json()["error"]
        assert (await http.get("/health")).status_code == 200


@pytest.mark.parametrize(("proxies", "granted"), [(["127.0.0.1"], 6), ([], 3)])
async def test_a_trusted_proxy_says_who_the_client_is(proxies: list[str], granted: int) -> None:
    async with running(requests_per_minute=3, proxies=proxies) as http:
        clients = ["192.0.2.1", "192.0.2.2"] * 5
        answers = [await push(http, **{"X-Forwarded-For": client}) for client in clients]
    assert [answer.status_code for answer in answers].count(202) == granted


async def test_what_went_wrong_is_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with running(inbox=BrokenInbox()) as http:
        answer = await push(http)
        assert (await http.get("/health")).status_code == 200
    assert answer.status_code == 500
    said = answer.json()["error"]
    assert said.startswith("internal error ")
    assert "space" not in said
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert said.split(";")[0] in record.getMessage()
    assert record.exc_info is not None
