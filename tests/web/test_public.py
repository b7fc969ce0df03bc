"""What the world can reach, by a real server on a real port with a real store behind it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from blockbuster import blockbuster_ctx

from kennel.builtin.forgejo import Forgejo, Gitea
from kennel.builtin.github import GitHub
from kennel.domain import Repository, Secret
from kennel.domain.delivery import NewDelivery
from kennel.plugin import Delivery
from kennel.store import Store, inbox
from kennel.store.tables import deliveries
from kennel.testing.forge import ForgejoSender, GiteaSender, GitHubSender, Sender
from kennel.web import GroupCommit, create_public_app, listen_tcp, serve

OLD, NEW = "a" * 40, "c" * 40
SHOP = ForgejoSender(secret="shared")
BLOG = ForgejoSender(secret="blogs own", id=8, full_name="acme/blog")
WIKI = ForgejoSender(secret="wikis own", id=9, full_name="acme/wiki")
NEWS = ForgejoSender(secret="shared", id=10, full_name="acme/news")
SENDERS = [SHOP, GiteaSender(secret="shared"), GitHubSender(secret="shared")]


@dataclass
class Registry:
    """shop has no secret of its own, blog and wiki have."""

    known: set[str] = field(default_factory=lambda: {"acme/shop", "acme/blog", "acme/wiki"})
    allowed: set[str] = field(default_factory=set)

    def secrets(self) -> Iterable[tuple[str | None, Secret]]:
        shared: tuple[None, Secret] = (None, Secret("shared"))
        return [shared, ("acme/blog", Secret("blogs own")), ("acme/wiki", Secret("wikis own"))]

    def project_of(self, repository: Repository) -> str | None:
        return repository.full_name if repository.full_name in self.known else None

    def admits(self, repository: Repository) -> bool:
        return repository.full_name in self.allowed

    def knows_host(self, host: str) -> bool:
        return host == "shop-main.example.net"


@dataclass
class Site:
    port: int
    http: httpx.AsyncClient
    registry: Registry
    store: Store
    commits: list[int]

    async def send(self, delivery: Delivery, **headers: str) -> httpx.Response:
        return await self.http.post(
            "/webhook", content=delivery.body, headers={**delivery.headers, **headers}
        )

    async def kept(self) -> Sequence[sa.Row[Any]]:
        return await self.store.read(
            lambda db: db.execute(sa.select(deliveries).order_by(deliveries.c.id)).all()
        )

    async def raw(self, *pieces: bytes, pause: float = 0.0) -> bytes:
        """Send bytes on a connection of its own and return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(pause)
            return await asyncio.wait_for(reader.readuntil(b"}"), 10)
        except asyncio.IncompleteReadError as error:
            return error.partial
        finally:
            writer.close()


@asynccontextmanager
async def running(
    store: Store, *, trusted_proxies: Sequence[str] = (), **options: Any
) -> AsyncIterator[Site]:
    commits: list[int] = []

    async def commit(new: list[NewDelivery]) -> Sequence[int]:
        commits.append(len(new))
        return await store.write(partial(inbox.add, new=new))

    registry, kept = Registry(), GroupCommit(commit)
    forges = [GitHub(), Gitea(), Forgejo()]
    app = create_public_app(registry, kept, forges, **{"max_body": 100_000, **options})
    listener = listen_tcp("127.0.0.1", 0)
    async with (
        serve(app, listener, trusted_proxies=trusted_proxies) as serving,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{serving.port}", timeout=30) as http,
    ):
        with blockbuster_ctx():  # a request never waits for a file or a lock
            yield Site(serving.port, http, registry, store, commits)


@pytest.fixture
async def site(sqlite_store: Store) -> AsyncIterator[Site]:
    async with running(sqlite_store) as site:
        yield site


@pytest.fixture(autouse=True)
def nothing_goes_wrong(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where an error was logged: whatever is sent, nothing here is our fault."""
    yield
    assert not [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR]


def error(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error"}
    return str(body["error"])


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.forge)
async def test_a_delivery_is_kept_before_it_is_answered(
    site: Site, sender: Sender, form: bool
) -> None:
    delivery = replace(sender, form=form).pushed("main", OLD, NEW)
    answer = await site.send(delivery)
    assert answer.status_code == 202
    (row,) = await site.kept()
    assert answer.json() == {"delivery": row.id}
    assert (row.forge, row.event, row.project) == (sender.forge, "push", "acme/shop")
    assert row.body == delivery.body
    assert row.delivery_id == delivery.headers["x-github-delivery"]


async def test_what_was_kept_can_be_read_again(site: Site) -> None:
    delivery = SHOP.pushed("main", OLD, NEW)
    await site.send(delivery)
    (stored,) = await site.store.read(inbox.waiting)
    again = Forgejo().read(Delivery(headers=stored.headers, body=stored.body))
    assert again == Forgejo().read(delivery)


async def test_credentials_are_not_kept(site: Site) -> None:
    secret = {"authorization": "Bearer hunter2", "cookie": "hunter2", "X-Gitlab-Token": "hunter2"}
    await site.send(SHOP.pushed("main", OLD, NEW), **secret, **{"X-Api-Key": "hunter2"})
    (row,) = await site.kept()
    assert "hunter2" not in json.dumps(row.headers)
    assert not [name for name in row.headers if "signature" in name]
    assert row.headers["x-forgejo-event"] == "push"


@pytest.mark.parametrize(
    "delivery",
    [
        replace(SHOP, secret="wrong").pushed("main", OLD, NEW),
        replace(SHOP, secret="").pushed("main", OLD, NEW),
        replace(SHOP, secret="").send("push", b"{ not json"),
        Delivery(headers={"x-forgejo-event": "push"}, body=b"{}"),
        replace(SHOP.pushed("main", OLD, NEW), body=b"{}"),
    ],
    ids=["wrong", "empty", "not-even-json", "missing", "another-body"],
)
async def test_nothing_is_taken_without_a_signature(site: Site, delivery: Delivery) -> None:
    answer = await site.send(delivery)
    assert answer.status_code == 401
    assert error(answer).startswith("the signature is missing or wrong")
    assert await site.kept() == []


@pytest.mark.parametrize(
    ("sender", "secret", "status"),
    [
        (SHOP, "shared", 202),
        (SHOP, "blogs own", 401),
        (BLOG, "blogs own", 202),
        (BLOG, "shared", 401),
        (BLOG, "wikis own", 401),
        (NEWS, "shared", 404),
        (NEWS, "blogs own", 401),
    ],
)
async def test_a_secret_speaks_only_for_its_own(
    site: Site, sender: Sender, secret: str, status: int
) -> None:
    answer = await site.send(replace(sender, secret=secret).pushed("main", OLD, NEW))
    assert answer.status_code == status
    assert len(await site.kept()) == (status == 202)
    if status == 401:
        assert "signature" in error(answer)
        assert not [word for word in ("shop", "blog", "wiki") if word in error(answer)]


async def test_an_unknown_repository_is_told_how_to_become_known(site: Site) -> None:
    answer = await site.send(NEWS.pushed("main", OLD, NEW))
    assert answer.status_code == 404
    assert f"kennel projects add {NEWS.clone_url}" in error(answer)
    assert "allow" in error(answer)
    site.registry.allowed.add("acme/news")
    assert (await site.send(NEWS.pushed("main", OLD, NEW))).status_code == 202
    denied = await site.send(replace(NEWS, secret="blogs own").pushed("main", OLD, NEW))
    assert denied.status_code == 401


@pytest.mark.parametrize(
    ("delivery", "says"),
    [
        (SHOP.send("push", b"{ not json"), "JSON"),
        (SHOP.send("push", b'{"ref": "refs/heads/main"}'), "`before`"),
        (SHOP.pushed("main", OLD, "HEAD"), "after"),
        (SHOP.pushed("a..b", OLD, NEW), "ref"),
        (SHOP.send("pull_request", b'{"x":' + b"[" * 90_000), "nested"),
    ],
)
async def test_a_bad_payload_is_explained(site: Site, delivery: Delivery, says: str) -> None:
    answer = await site.send(delivery)
    assert answer.status_code == 400
    assert says in error(answer)
    assert await site.kept() == []


async def test_events_that_change_nothing_are_kept_too(site: Site) -> None:
    answer = await site.send(BLOG.send("star", {"action": "created"}))
    assert answer.status_code == 202
    (row,) = await site.kept()
    assert (row.event, row.project) == ("star", "acme/blog")
    for delivery in SHOP.tagged("v1", NEW):
        assert (await site.send(delivery)).status_code == 202


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.forge)
async def test_a_tested_hook_is_well(site: Site, sender: Sender) -> None:
    assert (await site.send(sender.test(NEW))).status_code == 200
    assert await site.kept() == []


async def test_a_request_of_no_forge(site: Site) -> None:
    answer = await site.http.post("/webhook", content=b"{}")
    assert answer.status_code == 400
    assert "forgejo, gitea, github" in error(answer)


async def test_a_delivery_that_comes_again_is_kept_again(site: Site) -> None:
    """GitHub sends one again, under the same id, when somebody asks for it: on purpose."""
    delivery = SHOP.pushed("main", OLD, NEW)
    answers = [(await site.send(delivery)).json()["delivery"] for _ in range(2)]
    assert len({*answers}) == 2
    assert len({row.delivery_id for row in await site.kept()}) == 1


async def test_two_hundred_at_once(site: Site) -> None:
    sent = [SHOP.pushed(f"branch-{i}", OLD, NEW) for i in range(200)]
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=site.http.base_url, limits=limits, timeout=30) as http:
        many = replace(site, http=http)
        answers = await asyncio.gather(*(many.send(delivery) for delivery in sent))
    assert {answer.status_code for answer in answers} == {202}
    rows = await site.kept()
    assert {row.body for row in rows} == {delivery.body for delivery in sent}
    assert [row.id for row in rows] == sorted(answer.json()["delivery"] for answer in answers)
    assert sum(site.commits) == 200
    assert len(site.commits) < 200


HEAD = b"POST /webhook HTTP/1.1\r\nHost: kennel\r\n"


async def test_a_large_body_is_refused_before_it_comes(site: Site) -> None:
    answer = await site.raw(HEAD + b"Content-Length: 100001\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100000 bytes (web.max_body)" in answer


async def test_a_large_body_is_refused_where_nothing_says_so(site: Site) -> None:
    chunk = b"c350\r\n" + b"x" * 50_000 + b"\r\n"
    answer = await site.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_sends_all_of_it_still_gets_the_answer(site: Site) -> None:
    answer = await site.http.post("/webhook", content=b"x" * 5_000_000)
    assert answer.status_code == 413


async def test_the_largest_body_is_taken(sqlite_store: Store) -> None:
    async with running(sqlite_store, max_body=3_000_000) as site:
        payload = json.loads(SHOP.pushed("main", OLD, NEW).body)
        delivery = SHOP.send("push", {**payload, "more": "x" * 2_900_000})
        assert (await site.send(delivery)).status_code == 202
        assert (await site.kept())[0].body == delivery.body


async def test_a_body_longer_than_it_said_is_cut_there(site: Site) -> None:
    delivery = SHOP.pushed("main", OLD, NEW)
    lines = "".join(f"{name}: {value}\r\n" for name, value in delivery.headers.items()).encode()
    length = b"Content-Length: 10\r\n\r\n"
    answer = await site.raw(HEAD + lines + length + delivery.body)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))
    assert await site.kept() == []


async def test_a_body_that_breaks_off_is_nothing(site: Site) -> None:
    delivery = SHOP.pushed("main", OLD, NEW)
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(HEAD + b"Content-Length: 5000\r\n\r\n" + delivery.body[:100])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await site.http.get("/health")).status_code == 200
    assert await site.kept() == []


async def test_a_body_that_does_not_come(sqlite_store: Store) -> None:
    async with running(sqlite_store, patience=0.2) as site:
        answer = await site.raw(HEAD + b"Content-Length: 9\r\n\r\n", b"{", b"}", pause=0.05)
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_slow_body_is_waited_for(site: Site) -> None:
    delivery = SHOP.pushed("main", OLD, NEW)
    lines = "".join(f"{name}: {value}\r\n" for name, value in delivery.headers.items()).encode()
    head = HEAD + lines + f"Content-Length: {len(delivery.body)}\r\n\r\n".encode()
    parts = [delivery.body[i : i + 200] for i in range(0, len(delivery.body), 200)]
    assert (await site.raw(head, *parts, pause=0.02)).startswith(b"HTTP/1.1 202 ")
