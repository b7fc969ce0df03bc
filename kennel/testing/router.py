"""What every router must do, written as tests; and one that keeps its table in memory."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeAlias

import httpx
import pytest
import pytest_asyncio

from kennel.domain import Files, Key, Ref, Route, Target, Tenant, Upstream
from kennel.domain.route import digest_of
from kennel.errors import Unavailable
from kennel.plugin import Router
from kennel.testing.contract import Contract
from kennel.testing.memory_router import MemoryProxy, MemoryRouter
from kennel.testing.serving import SLOW, serving, serving_on_socket, write_site

__all__ = ["Answer", "MakeRouter", "MemoryProxy", "MemoryRouter", "RouterContract", "Serve"]

MakeRouter: TypeAlias = Callable[[], Router]
Serve: TypeAlias = Callable[[str], "asyncio.Future[Upstream]"]

MAIN = Tenant("contract", Ref.branch("main"))
OTHER = Tenant("contract", Ref.branch("other"))
LOOKALIKES = [
    (Tenant("shop", Ref.branch("feature/x")), Tenant("shop", Ref.branch("feature-x"))),
    (Tenant("shop", Ref.branch("pr-42")), Tenant("shop", Ref.pull_request(42))),
    (Tenant("a-b", Ref.branch("c")), Tenant("a", Ref.branch("b-c"))),
    (Tenant("p", Ref.branch("x" * 90 + "a")), Tenant("p", Ref.branch("x" * 90 + "b"))),
]
"""Pairs that a careless router gives the same name."""

SETTLES = 0.1
"""Seconds after which a proxy has put away the table it had before."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person gets who visits a host. Names of headers are in lower case."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


def service(tenant: Tenant, name: str, *hosts: str) -> Route:
    return Route(key=Key(tenant, name), hosts=hosts)


def site(tenant: Tenant, name: str, *hosts: str, spa: bool = False) -> Route:
    return Route(key=Key(tenant, name), hosts=hosts, site=True, spa=spa)


class RouterContract(Contract):
    """The conformance suite of a router.

        class TestTraefik(RouterContract):
            @pytest.fixture
            def make_router(self, tmp_path: Path) -> MakeRouter:
                return lambda: TraefikRouter(TraefikConfig(), host_at(tmp_path))

    Whatever the fixture returns is called more than once: each call stands for a start of Kennel,
    one after the other, on the same host. `Host.domain` must be `domain`. The proxy must listen
    on 127.0.0.1, at the port that `url` names.
    """

    domain: ClassVar[str] = "contract.localhost"

    @pytest.fixture
    def make_router(self) -> MakeRouter:
        """Return what makes a router, not yet opened, for one and the same host."""
        self.needs("make_router", returns="what makes a Router: () -> Router")

    def trust(self) -> ssl.SSLContext:
        """Return what verifies the proxy's certificates, where they are not publicly trusted."""
        raise NotImplementedError

    def unreachable(self) -> Router:
        """Return a router, not yet opened, whose proxy does not answer."""
        raise NotImplementedError

    def version(self) -> object:
        """Return something that is another after each write to the proxy's configuration."""
        raise NotImplementedError

    async def ask(self, router: Router, host: str, path: str = "/") -> Answer:
        """Visit a host as a browser does, wherever its name points at.

        A second time if the connection is closed: many a proxy does that to those that come in
        while it takes a new table.
        """
        async with self.browser(router) as browser:
            try:
                return await self.visit(browser, router, host, path)
            except httpx.TransportError:
                await asyncio.sleep(SETTLES)
                return await self.visit(browser, router, host, path)

    @asynccontextmanager
    async def browser(self, router: Router) -> AsyncIterator[httpx.AsyncClient]:
        verify: ssl.SSLContext | bool = True
        if router.url(self.host("any")).startswith("https"):
            try:
                verify = await asyncio.to_thread(self.trust)
            except NotImplementedError:
                verify = True
        async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=20) as client:
            yield client

    async def visit(
        self, browser: httpx.AsyncClient, router: Router, host: str, path: str = "/"
    ) -> Answer:
        url = httpx.URL(router.url(host))
        answer = await browser.get(
            url.copy_with(host="127.0.0.1", raw_path=path.encode()),
            headers={"Host": url.netloc.decode()},
            extensions={"sni_hostname": host},
        )
        return Answer(answer.status_code, answer.text, answer.headers)

    async def visited(self, router: Router) -> set[Tenant]:
        """Return who was visited, or skip the test if the router cannot tell."""
        found = await router.visited()
        if found is None:
            pytest.skip(f"{type(router).__name__} cannot tell who was visited")
        return set(found)

    async def visited_in_all(self, router: Router) -> set[Tenant]:
        """Return who was visited, and fail unless that ends: one visit may be told twice."""
        found = await self.visited(router)
        again = await self.visited(router)
        assert again <= found
        assert await self.visited(router) == set()
        return found

    def host(self, label: str) -> str:
        return f"{label}.{self.domain}"

    @pytest_asyncio.fixture
    async def router(self, make_router: MakeRouter) -> AsyncIterator[Router]:
        async with make_router() as router:
            yield router

    @pytest_asyncio.fixture
    async def serve(self) -> AsyncIterator[Serve]:
        """Return what runs a service that answers with a text."""
        async with AsyncExitStack() as stack:
            yield lambda text: asyncio.ensure_future(stack.enter_async_context(serving(text)))

    async def test_is_well(self, router: Router) -> None:
        await router.check()

    async def test_has_no_targets_at_first(self, router: Router) -> None:
        assert (await router.observe()).live == {}

    async def test_addresses_name_their_host(self, router: Router) -> None:
        url = httpx.URL(router.url(self.host("shop-main")))
        assert url.scheme in ("http", "https")
        assert url.host == self.host("shop-main")
        assert url.path == "/"

    async def test_hosts_answer_from_their_targets(
        self, router: Router, serve: Serve, tmp_path: Path
    ) -> None:
        routes = [
            service(MAIN, "api", self.host("api"), self.host("www")),
            service(MAIN, "web", self.host("web")),
            site(MAIN, "docs", self.host("docs")),
            service(OTHER, "api", self.host("other")),
        ]
        files = await asyncio.to_thread(write_site, tmp_path / "docs", {"index.html": "the docs"})
        await router.switch(
            MAIN, {"api": await serve("the api"), "web": await serve("the web"), "docs": files}
        )
        await router.switch(OTHER, {"api": await serve("the other")})
        await router.publish(routes)
        for label, text in {
            "api": "the api",
            "www": "the api",
            "web": "the web",
            "docs": "the docs",
            "other": "the other",
        }.items():
            assert await self.ask(router, self.host(label)) == Answer(200, text)

    async def test_targets_may_come_after_routes(self, router: Router, serve: Serve) -> None:
        await router.publish([service(MAIN, "api", self.host("api"))])
        before = await self.ask(router, self.host("api"))
        assert before.status in (502, 503, 504)
        await router.switch(MAIN, {"api": await serve("late")})
        assert await self.ask(router, self.host("api")) == Answer(200, "late")

    async def test_published_routes_are_observed(self, router: Router) -> None:
        table = frozenset(
            {
                service(MAIN, "api", self.host("api")),
                site(OTHER, "docs", self.host("docs"), spa=True),
            }
        )
        for routes in (table, frozenset[Route](), table):
            await router.publish(routes)
            assert (await router.observe()).routes == routes

    async def test_nothing_is_written_that_is_there(self, router: Router) -> None:
        table = [service(MAIN, name, self.host(name)) for name in ("a", "b", "c")]
        await router.publish(table)
        before = await self.optional(self.version)
        await router.publish(list(reversed(table)))
        await router.observe()
        await router.switch(MAIN, {"a": Upstream(port=1)})
        assert await self.optional(self.version) == before
        await router.publish(table[1:])
        assert await self.optional(self.version) != before

    async def test_the_table_is_all_there_is(self, router: Router, serve: Serve) -> None:
        await router.switch(MAIN, {"a": await serve("a"), "b": await serve("b")})
        await router.publish([service(MAIN, name, self.host(name)) for name in ("a", "b")])
        await router.publish([service(MAIN, "b", self.host("b"))])
        assert (await self.ask(router, self.host("a"))).status == 404
        assert await self.ask(router, self.host("b")) == Answer(200, "b")

    async def test_redirects_lead_to_the_host_that_people_are_told(
        self, router: Router, serve: Serve
    ) -> None:
        """With path and query, while nothing runs too, and no longer than they are there."""
        told, also, www = self.host("told"), self.host("also"), self.host("www")
        route = Route(key=Key(MAIN, "api"), hosts=(also, told), redirects=(www, self.host("old")))
        await router.publish([route, service(OTHER, "api", self.host("other"))])
        for text in (None, "running"):
            if text is not None:
                await router.switch(MAIN, {"api": await serve(text)})
                assert (await self.ask(router, also)).text == text
            for host in (www, self.host("OLD")):
                answer = await self.ask(router, host, "/a%20b?c=d&c=%2F")
                assert answer.status == 308
                assert answer.headers["location"] == f"{router.url(told)}/a%20b?c=d&c=%2F"
        await router.publish([replace(route, redirects=(self.host("old"),))])
        assert (await self.ask(router, www)).status == 404
        assert (await self.ask(router, self.host("old"))).status == 308

    async def test_what_is_not_to_be_listed_says_so(
        self, router: Router, serve: Serve, tmp_path: Path
    ) -> None:
        files = await asyncio.to_thread(write_site, tmp_path / "site", {"index.html": "a site"})
        await router.switch(MAIN, {"api": await serve("listed")})
        await router.switch(OTHER, {"api": await serve("not listed"), "docs": files})
        hidden = [
            service(OTHER, "api", self.host("api")),
            service(OTHER, "away", self.host("away")),
            site(OTHER, "docs", self.host("docs")),
        ]
        listed = service(MAIN, "api", self.host("listed"))
        await router.publish([listed, *(replace(one, indexed=False) for one in hidden)])
        assert "x-robots-tag" not in (await self.ask(router, self.host("listed"))).headers
        for label, status in (("api", 200), ("docs", 200), ("away", 503)):
            answer = await self.ask(router, self.host(label))
            assert (answer.status, answer.headers["x-robots-tag"]) == (status, "noindex")

    async def test_hosts_are_written_in_any_way(self, router: Router, serve: Serve) -> None:
        label = "x" * 63
        await router.switch(MAIN, {"api": await serve("found")})
        await router.publish([service(MAIN, "api", self.host(label), self.host("api"))])
        assert await self.ask(router, self.host(label)) == Answer(200, "found")
        assert await self.ask(router, self.host("API")) == Answer(200, "found")

    async def test_a_site_tells_pages_that_are_not_there(
        self, router: Router, tmp_path: Path
    ) -> None:
        pages = {"index.html": "home", "a/index.html": "a", "404.html": "lost"}
        files = await asyncio.to_thread(write_site, tmp_path / "site", pages)
        await router.switch(MAIN, {"docs": files, "app": files})
        docs, app = self.host("docs"), self.host("app")
        await router.publish([site(MAIN, "docs", docs), site(MAIN, "app", app, spa=True)])
        assert await self.ask(router, docs, "/a/") == Answer(200, "a")
        assert await self.ask(router, docs, "/nowhere") == Answer(404, "lost")
        assert await self.ask(router, app, "/a/") == Answer(200, "a")
        assert await self.ask(router, app, "/nowhere") == Answer(200, "home")

    async def test_switched_targets_are_observed(self, router: Router) -> None:
        generations: list[dict[str, Target]] = [
            {"api": Upstream(port=1)},
            {"api": Upstream(port=2), "docs": Files(root="/nowhere")},
        ]
        for targets in generations:
            await router.switch(MAIN, targets)
            assert (await router.observe()).live == {MAIN: digest_of(targets)}

    async def test_switching_there_and_back(self, router: Router, serve: Serve) -> None:
        host = self.host("api")
        await router.publish([service(MAIN, "api", host)])
        old, new = await serve("old"), await serve("new")
        for target, text in [(old, "old"), (new, "new"), (new, "new"), (old, "old")]:
            await router.switch(MAIN, {"api": target})
            assert await self.ask(router, host) == Answer(200, text)

    async def test_a_switch_is_of_everything_at_once(self, router: Router, serve: Serve) -> None:
        """Ask one service, then another: the second is never of an older generation."""
        generations = [
            {name: await serve(str(number)) for name in ("a", "b")} for number in range(10)
        ]
        await router.switch(MAIN, generations[0])
        await router.publish([service(MAIN, name, self.host(name)) for name in ("a", "b")])
        await asyncio.sleep(SETTLES)
        over = asyncio.Event()

        async def ask_both() -> int:
            asked = 0
            async with self.browser(router) as browser:
                while not over.is_set():
                    first = await self.visit(browser, router, self.host("a"))
                    second = await self.visit(browser, router, self.host("b"))
                    assert (first.status, second.status) == (200, 200)
                    assert int(first.text) <= int(second.text)
                    asked += 1
            return asked

        visitor = asyncio.create_task(ask_both())
        for generation in generations:
            await router.switch(MAIN, generation)
            await asyncio.sleep(0.03)
        over.set()
        assert await visitor

    async def test_switching_fails_no_request(self, router: Router, serve: Serve) -> None:
        host = self.host("api")
        blue, green = await serve("blue"), await serve("green")
        await router.switch(MAIN, {"api": blue})
        await router.publish([service(MAIN, "api", host)])
        await asyncio.sleep(SETTLES)

        async def visit_often() -> list[Answer]:
            async with self.browser(router) as browser:
                return [await self.visit(browser, router, host) for _ in range(60)]

        visitors = [asyncio.create_task(visit_often()) for _ in range(4)]
        for _ in range(25):
            for target in (green, blue):
                await router.switch(MAIN, {"api": target})
                await asyncio.sleep(0.005)
        answers = [answer for visitor in visitors for answer in await visitor]
        assert len(answers) == 240
        assert {(answer.status, answer.text) for answer in answers} <= {
            (200, "blue"),
            (200, "green"),
        }
        assert await self.ask(router, host) == Answer(200, "blue")

    async def test_a_request_under_way_ends_where_it_began(
        self, router: Router, serve: Serve
    ) -> None:
        host = self.host("api")
        await router.switch(MAIN, {"api": await serve("old")})
        await router.publish([service(MAIN, "api", host)])
        slow = asyncio.create_task(self.ask(router, host, "/slow"))
        await asyncio.sleep(SLOW / 2)
        await router.switch(MAIN, {"api": await serve("new")})
        assert await self.ask(router, host) == Answer(200, "new")
        assert await slow == Answer(200, "old")

    @pytest.mark.parametrize(("one", "two"), LOOKALIKES, ids=str)
    async def test_tenants_share_nothing(
        self, router: Router, serve: Serve, one: Tenant, two: Tenant
    ) -> None:
        await router.publish(
            [service(one, "api", self.host("one")), service(two, "api", self.host("two"))]
        )
        await router.switch(one, {"api": await serve("1")})
        await router.switch(two, {"api": await serve("2")})
        assert await self.ask(router, self.host("one")) == Answer(200, "1")
        assert await self.ask(router, self.host("two")) == Answer(200, "2")
        await router.remove(one)
        assert (await router.observe()).live.keys() == {two}
        assert await self.ask(router, self.host("two")) == Answer(200, "2")

    async def test_many_tenants_switch_side_by_side(self, router: Router) -> None:
        tenants = [Tenant("many", Ref.branch(f"b{number}")) for number in range(40)]
        for port in (1, 2):
            targets = {"api": Upstream(port=port)}
            await asyncio.gather(*(router.switch(tenant, targets) for tenant in tenants))
            live = (await router.observe()).live
            assert live == dict.fromkeys(tenants, digest_of(targets))

    async def test_visits_are_told(self, router: Router, serve: Serve, tmp_path: Path) -> None:
        """To a service and to a site; and not of those who had none."""
        quiet = LOOKALIKES[0][0]
        files = await asyncio.to_thread(write_site, tmp_path / "site", {"index.html": "a site"})
        await router.switch(MAIN, {"api": await serve("api"), "web": await serve("web")})
        await router.switch(OTHER, {"docs": files})
        await router.switch(quiet, {"api": await serve("quiet")})
        await router.publish(
            [
                service(MAIN, "api", self.host("api")),
                service(MAIN, "web", self.host("web")),
                site(OTHER, "docs", self.host("docs")),
                service(quiet, "api", self.host("quiet")),
            ]
        )
        for labels, tenants in [
            (["api"], {MAIN}),
            (["docs"], {OTHER}),
            (["web", "api", "web"], {MAIN}),
            (["docs", "api"], {MAIN, OTHER}),
            (["api"], {MAIN}),
        ]:
            for label in labels:
                assert (await self.ask(router, self.host(label))).status == 200
            assert await self.visited_in_all(router) == tenants

    async def test_a_switch_is_no_visit_and_hides_none(self, router: Router, serve: Serve) -> None:
        host = self.host("api")
        one, two, three = [{"api": await serve(text)} for text in ("one", "two", "three")]
        await router.publish([service(MAIN, "api", host)])
        await router.switch(MAIN, one)
        await self.ask(router, host)
        await self.visited_in_all(router)
        for targets in (two, one, three, two):
            await router.switch(MAIN, targets)
            assert await self.visited(router) == set()
        assert await self.ask(router, host) == Answer(200, "two")
        for targets in (one, two, three):
            await router.switch(MAIN, targets)
        assert await self.visited_in_all(router) == {MAIN}

    async def test_targets_may_be_sockets(self, router: Router, serve: Serve) -> None:
        """Who listens there sees the visitors itself: they are not told."""
        await router.publish(
            [service(MAIN, "api", self.host("api")), service(OTHER, "api", self.host("other"))]
        )
        async with serving_on_socket("from a socket") as listening:
            await router.switch(MAIN, {"api": listening})
            await router.switch(OTHER, {"api": await serve("other")})
            assert (await router.observe()).live[MAIN] == digest_of({"api": listening})
            assert await self.ask(router, self.host("api")) == Answer(200, "from a socket")
            assert await self.ask(router, self.host("other")) == Answer(200, "other")
            await router.switch(MAIN, {"api": await serve("from a port")})
            assert await self.ask(router, self.host("api")) == Answer(200, "from a port")
            await self.visited_in_all(router)
            await router.switch(MAIN, {"api": listening})
            assert await self.ask(router, self.host("api")) == Answer(200, "from a socket")
            assert await self.visited(router) == set()

    async def test_remove_may_be_repeated(self, router: Router) -> None:
        await router.remove(MAIN)
        await router.switch(MAIN, {"api": Upstream(port=1)})
        await router.switch(OTHER, {"api": Upstream(port=1)})
        await router.remove(MAIN)
        await router.remove(MAIN)
        assert (await router.observe()).live.keys() == {OTHER}

    async def test_a_new_start_finds_what_was_live(
        self, make_router: MakeRouter, serve: Serve
    ) -> None:
        tenant = LOOKALIKES[0][0]
        routes = [service(tenant, "api", self.host("api"))]
        targets: dict[str, Target] = {"api": await serve("still")}
        async with make_router() as router:
            await router.publish(routes)
            await router.switch(tenant, targets)
        async with make_router() as successor:
            state = await successor.observe()
            assert state.live == {tenant: digest_of(targets)}
            assert state.routes in (None, frozenset(), frozenset(routes))
            await successor.publish(routes)
            assert (await successor.observe()).routes == frozenset(routes)
            assert await self.ask(successor, self.host("api")) == Answer(200, "still")

    async def test_a_proxy_out_of_reach_is_unavailable(self) -> None:
        away = await self.optional(self.unreachable)
        await self.says_so(
            Unavailable,
            away,
            away.observe,
            lambda: away.publish([service(MAIN, "api", self.host("api"))]),
            away.check,
        )
