"""The router in memory passes the contract that Caddy passes."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from kennel.domain import Files, Route, Socket
from kennel.errors import Unavailable
from kennel.plugin import Router
from kennel.testing.router import (
    Answer,
    MakeRouter,
    MemoryProxy,
    MemoryRouter,
    RouterContract,
)


class TestMemoryRouter(RouterContract):
    proxy: MemoryProxy

    @pytest.fixture
    def make_router(self) -> MakeRouter:
        self.proxy = MemoryProxy()
        return lambda: MemoryRouter(self.proxy)

    def unreachable(self) -> Router:
        away = MemoryRouter()
        away.problem = Unavailable("memory: out of reach")
        return away

    def version(self) -> object:
        return self.proxy.writes

    async def visit(
        self, browser: httpx.AsyncClient, router: Router, host: str, path: str = "/"
    ) -> Answer:
        assert isinstance(router, MemoryRouter)
        if told := router.redirect(host):
            return Answer(308, "", {"location": f"{router.url(told)}{path}"})
        route = router.route(host)
        if route is None:
            return Answer(404, "")
        answer = await self.page(browser, router, route, host, path)
        said = {} if route.indexed else {"x-robots-tag": "noindex"}
        return replace(answer, headers={**answer.headers, **said})

    async def page(
        self, browser: httpx.AsyncClient, router: MemoryRouter, route: Route, host: str, path: str
    ) -> Answer:
        target = router.visit(host)
        if target is None:
            return Answer(503, "")
        if isinstance(target, Files):
            return await asyncio.to_thread(read_page, route, Path(target.root), path)
        if isinstance(target, Socket):
            transport = httpx.AsyncHTTPTransport(uds=target.path)
            async with httpx.AsyncClient(transport=transport) as client:
                answer = await client.get(f"http://{host}{path}")
                return Answer(answer.status_code, answer.text)
        answer = await browser.get(f"http://{target}{path}")
        return Answer(answer.status_code, answer.text)


def read_page(route: Route, root: Path, path: str) -> Answer:
    page = root / path.strip("/") / "index.html"
    if page.is_file():
        return Answer(200, page.read_text())
    if route.spa:
        return Answer(200, (root / "index.html").read_text())
    return Answer(404, (root / "404.html").read_text())
