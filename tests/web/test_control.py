"""What the command line is told, by a real server on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from blockbuster import blockbuster_ctx

from kennel import views
from kennel.errors import (
    BuildError,
    ConfigError,
    Conflict,
    ManifestError,
    NotFound,
    Rejected,
    Unavailable,
)
from kennel.plugin.manager import Plugin
from kennel.web import create_control_app, listen_unix, serve

BUILD = views.Build(
    id=7,
    project="shop",
    ref="main",
    environment="prod",
    commit="c" * 40,
    state="building",
    reason="",
    trusted=True,
    created_at=1.0,
    started_at=2.0,
    built_at=None,
    finished_at=None,
    urls=[],
)
PROJECT = views.Project(
    name="shop",
    forge="forgejo",
    full_name="acme/shop",
    clone_url="https://git.example/acme/shop.git",
    default_branch="main",
    domains=[],
    secret=None,
    token=None,
    ssh_key=None,
    previews=True,
    refs=0,
    removed=False,
)


SWEPT = views.Swept(
    project="shop",
    repairs=[views.Repair(ref="pr-5", kind="gone", commit="", why="shop/pr-5 is gone")],
    problem="",
)
COMMAND = views.Command(
    resource="postgres",
    name="backup",
    help="Write a dump.",
    ref=True,
    argument=None,
    warning=None,
)
REMOVAL = views.Removal(project="shop", ref="pr-5", environment="preview", expired=True)


class Daemon:
    """One build, 7, whose log grows for as long as `more` is not set."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.more = asyncio.Event()
        self.followers = 0

    def _note(self, *call: Any) -> None:
        self.asked.append(call)
        if self.error:
            raise self.error

    async def health(self) -> views.Health:
        self._note("health")
        return views.Health(
            version="1", started_at=0.0, passes=1, last_pass_seconds=0.1, providers=[]
        )

    async def status(self, project: str | None) -> Sequence[views.Deployment]:
        self._note("status", project)
        return []

    async def projects(self) -> Sequence[views.Project]:
        return [PROJECT]

    async def add_project(self, new: views.NewProject) -> views.Project:
        self._note("add_project", new)
        return PROJECT

    async def remove_project(self, name: str) -> None:
        self._note("remove_project", name)

    async def builds(
        self, project: str | None, ref: str | None, limit: int
    ) -> Sequence[views.Build]:
        self._note("builds", project, ref, limit)
        return [BUILD]

    async def build(self, build: int) -> views.Build:
        self._note("build", build)
        if build != BUILD.id:
            raise NotFound(f"there is no build {build}")
        return BUILD

    async def build_log(self, build: int, *, follow: bool) -> AsyncIterator[bytes]:
        self.followers += 1
        try:
            yield b"one\n"
            if follow:
                await self.more.wait()
                yield "zwölf\n".encode()
        finally:
            self.followers -= 1

    async def cancel(self, build: int) -> views.Build:
        self._note("cancel", build)
        return msgspec.structs.replace(BUILD, state="cancelled")

    async def deploy(self, request: views.DeployRequest) -> views.Build:
        self._note("deploy", request)
        return BUILD

    async def rollback(self, order: views.RollbackOrder) -> int:
        self._note("rollback", order)
        return BUILD.id

    async def restart(self, order: views.Order) -> int:
        self._note("restart", order)
        return BUILD.id

    async def redeploy(self, order: views.Order) -> int:
        self._note("redeploy", order)
        return BUILD.id

    async def stop(self, order: views.Order) -> str:
        self._note("stop", order)
        return "stops"

    async def start(self, order: views.Order) -> str:
        self._note("start", order)
        return "starts"

    async def pin(self, order: views.PinOrder) -> str:
        self._note("pin", order)
        return "stays"

    async def approve(self, order: views.ApproveOrder) -> str:
        self._note("approve", order)
        return "approved"

    async def purge(self, order: views.Order) -> str:
        self._note("purge", order)
        return "purged"

    async def removals(self) -> Sequence[views.Removal]:
        self._note("removals")
        return [REMOVAL]

    async def allow_removals(self) -> Sequence[views.Removal]:
        self._note("allow_removals")
        return [REMOVAL]

    async def sweep(self, order: views.SweepOrder) -> Sequence[views.Swept]:
        self._note("sweep", order)
        return [SWEPT]

    async def resources(self, project: str | None) -> views.Resources:
        self._note("resources", project)
        return views.Resources(resources=[], unreachable={"garage": "it is away"})

    def commands(self) -> Sequence[views.Command]:
        return [COMMAND]

    async def accept(self, order: views.CommandOrder) -> str:
        self._note("accept", order)
        if order.project != "shop":
            raise NotFound(f"there is no project {order.project}")
        return order.command

    async def carry_out(self, accepted: str) -> AsyncIterator[bytes]:
        yield views.line(views.Told(line=accepted))
        await self.more.wait()
        yield views.line(views.Told(over=True))

    async def plan(self) -> Sequence[views.Step]:
        return [views.Step(tenant="shop/main", step="start", why="new")]

    async def unit_logs(
        self, project: str, ref: str, name: str | None, lines: int
    ) -> Sequence[str]:
        self._note("unit_logs", project, ref, name, lines)
        return ["first", "größer"]

    async def deliveries(self, limit: int) -> Sequence[views.Delivery]:
        self._note("deliveries", limit)
        return []

    async def plugins(self) -> Sequence[Plugin]:
        return [Plugin(name="caddy", version="1", package="kennel", kinds=(), on=True, why="")]


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@asynccontextmanager
async def running(daemon: Daemon, path: Path, grace: int = 1) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with (
        serve(
            create_control_app(daemon, daemon, daemon, daemon, daemon),
            listen_unix(path),
            grace=grace,
        ),
        httpx.AsyncClient(transport=transport, base_url="http://kennel") as http,
    ):
        with blockbuster_ctx():  # a request never waits for a file or a lock
            yield http


@pytest.fixture
async def http(daemon: Daemon, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(daemon, tmp_path / "control.sock") as http:
        yield http


NEW = views.NewProject(url="https://git.example/acme/shop.git", domains=["shop.example"])


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/health", ("health",)),
        ("/api/status", ("status", None)),
        ("/api/status?project=shop", ("status", "shop")),
        ("/api/builds", ("builds", None, None, 20)),
        ("/api/builds?project=shop&ref=feature%2Fx&limit=3", ("builds", "shop", "feature/x", 3)),
        ("/api/builds/7", ("build", 7)),
        ("/api/deliveries?limit=5", ("deliveries", 5)),
        ("/api/logs?project=shop&ref=main", ("unit_logs", "shop", "main", None, 100)),
        (
            "/api/logs?project=shop&ref=pr-4&name=api&lines=5",
            ("unit_logs", "shop", "pr-4", "api", 5),
        ),
    ],
)
async def test_questions_reach_the_daemon(
    http: httpx.AsyncClient, daemon: Daemon, path: str, asked: tuple[Any, ...]
) -> None:
    assert (await http.get(path)).status_code == 200
    assert daemon.asked == [asked]


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("/api/projects", list[views.Project], [PROJECT]),
        ("/api/builds", list[views.Build], [BUILD]),
        ("/api/builds/7", views.Build, BUILD),
        ("/api/plan", list[views.Step], [views.Step(tenant="shop/main", step="start", why="new")]),
    ],
)
async def test_answers_are_views(
    http: httpx.AsyncClient, path: str, shape: Any, expected: object
) -> None:
    answer = await http.get(path)
    assert answer.headers["content-type"] == "application/json"
    assert msgspec.json.decode(answer.content, type=shape) == expected


async def test_plugins(http: httpx.AsyncClient) -> None:
    (plugin,) = (await http.get("/api/plugins")).json()
    assert plugin == {
        "name": "caddy",
        "version": "1",
        "package": "kennel",
        "kinds": [],
        "on": True,
        "why": "",
    }


async def test_changes_reach_the_daemon(http: httpx.AsyncClient, daemon: Daemon) -> None:
    request = views.DeployRequest(project="shop", ref="main")
    answers = [
        await http.post("/api/projects", content=msgspec.json.encode(NEW)),
        await http.delete("/api/projects/shop"),
        await http.post("/api/deploy", content=msgspec.json.encode(request)),
        await http.post("/api/builds/7/cancel"),
    ]
    assert [answer.status_code for answer in answers] == [201, 204, 202, 200]
    assert msgspec.json.decode(answers[0].content, type=views.Project) == PROJECT
    assert msgspec.json.decode(answers[2].content, type=views.Build) == BUILD
    assert answers[3].json()["state"] == "cancelled"
    assert daemon.asked == [
        ("add_project", NEW),
        ("remove_project", "shop"),
        ("deploy", request),
        ("cancel", 7),
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no project is called 'shop'"), 404),
        (Conflict("'shop' is there already"), 409),
        (ConfigError("domains: nobody granted it"), 400),
        (ManifestError("kennel.json: line 3"), 400),
        (ValueError("'refs/x' is no ref"), 400),
        (BuildError("cannot fetch it"), 400),
        (Rejected("the token is wrong"), 400),
        (Unavailable("the database does not answer"), 503),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_refusals_are_told_in_their_own_words(
    http: httpx.AsyncClient, daemon: Daemon, error: Exception, status: int
) -> None:
    daemon.error = error
    answer = await http.post("/api/builds/7/cancel")
    assert (answer.status_code, answer.json()) == (status, {"error": str(error)})


async def test_what_went_wrong_is_for_the_log(
    http: httpx.AsyncClient, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.error = KeyError("hunter2")
    answer = await http.get("/api/health")
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("internal error ")
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"{}", "`url`"),
        (b'{"url": 7}', "url"),
        (b'{"url": "x", "colour": "red"}', "`colour`"),
        (b'{"url": ' + b"[" * 100_000, "url"),
        (b'{"url": "\xff"}', "utf-8"),
        (b"\xff", "body"),
    ],
)
async def test_a_bad_body_is_explained(http: httpx.AsyncClient, body: bytes, says: str) -> None:
    answer = await http.post("/api/projects", content=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/builds?limit=0", "limit"),
        ("/api/builds?limit=many", "limit"),
        ("/api/builds?limit=99999999999999999999", "limit"),
        ("/api/builds?projekt=shop", "projekt"),
        ("/api/logs?ref=main", "project"),
        ("/api/builds/7/log?follow=perhaps", "follow"),
    ],
)
async def test_a_bad_query_is_explained(http: httpx.AsyncClient, path: str, says: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/x", "/api/builds/8", "/api/builds/x", f"/api/builds/{10**40}"]
)
async def test_there_is_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.json().keys() == {"error"}


async def test_the_log_of_a_service(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/logs?project=shop&ref=main")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "first\ngrößer\n"


async def test_the_log_of_a_build(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/builds/7/log")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "one\n"


async def test_a_log_that_is_not_there(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/builds/8/log?follow=true")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no build 8"})


async def test_a_log_is_followed(http: httpx.AsyncClient, daemon: Daemon) -> None:
    async with http.stream("GET", "/api/builds/7/log?follow=true") as answer:
        pieces = answer.aiter_text()
        assert await anext(pieces) == "one\n"
        daemon.more.set()
        assert [piece async for piece in pieces] == ["zwölf\n"]


async def test_who_hangs_up_is_not_followed_for_ever(
    http: httpx.AsyncClient, daemon: Daemon
) -> None:
    async with http.stream("GET", "/api/builds/7/log?follow=true") as answer:
        await anext(answer.aiter_text())
        assert daemon.followers == 1
    for _ in range(100):
        await asyncio.sleep(0.01)
        if not daemon.followers:
            break
    assert daemon.followers == 0


async def test_who_follows_does_not_hold_up_the_stop(daemon: Daemon, tmp_path: Path) -> None:
    async with asyncio.timeout(10):
        async with running(daemon, tmp_path / "control.sock") as http:
            request = http.build_request("GET", "/api/builds/7/log?follow=true")
            answer = await http.send(request, stream=True)
            await anext(answer.aiter_raw())
        assert daemon.followers == 0
    await answer.aclose()


SHOP = {"project": "shop", "ref": "pr-5"}


@pytest.mark.parametrize(
    ("path", "body", "order"),
    [
        ("rollback", {**SHOP, "to": 3}, views.RollbackOrder(project="shop", ref="pr-5", to=3)),
        ("restart", SHOP, views.Order(project="shop", ref="pr-5")),
        ("redeploy", SHOP, views.Order(project="shop", ref="pr-5")),
        ("stop", SHOP, views.Order(project="shop", ref="pr-5")),
        ("start", SHOP, views.Order(project="shop", ref="pr-5")),
        ("pin", SHOP, views.PinOrder(project="shop", ref="pr-5")),
        ("approve", SHOP, views.ApproveOrder(project="shop", ref="pr-5")),
        ("purge", SHOP, views.Order(project="shop", ref="pr-5")),
    ],
)
async def test_an_order_is_passed_on_as_it_was_given(
    daemon: Daemon, tmp_path: Path, path: str, body: dict[str, Any], order: views.Order
) -> None:
    async with running(daemon, tmp_path / "socket") as http:
        answer = await http.post(f"/api/{path}", json=body)
    assert answer.is_success
    assert daemon.asked[0] == (path, order)
    assert set(answer.json()) >= ({"id"} if "build" in str(daemon.asked[1:]) else {"message"})


async def test_an_order_with_a_word_too_many_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    async with running(daemon, tmp_path / "socket") as http:
        answer = await http.post("/api/purge", json={**SHOP, "yes": True})
    assert answer.status_code == 400
    assert "yes" in answer.json()["error"]
    assert not daemon.asked


async def test_what_is_held_back_is_listed_and_let_go(daemon: Daemon, tmp_path: Path) -> None:
    async with running(daemon, tmp_path / "socket") as http:
        listed = await http.get("/api/removals")
        allowed = await http.post("/api/removals/allow")
    assert listed.json() == allowed.json() == [msgspec.to_builtins(REMOVAL)]
    assert daemon.asked == [("removals",), ("allow_removals",)]


async def test_repositories_are_looked_at(daemon: Daemon, tmp_path: Path) -> None:
    async with running(daemon, tmp_path / "socket") as http:
        every = await http.post("/api/sweep", json={})
        one = await http.post("/api/sweep", json={"project": "shop", "force": True})
        wrong = await http.post("/api/sweep", json={"projects": "shop"})
    assert every.json() == one.json() == [msgspec.to_builtins(SWEPT)]
    assert (every.status_code, one.status_code, wrong.status_code) == (200, 200, 400)
    assert "projects" in wrong.json()["error"]
    assert daemon.asked == [
        ("sweep", views.SweepOrder()),
        ("sweep", views.SweepOrder(project="shop", force=True)),
    ]


async def test_resources_are_listed(daemon: Daemon, tmp_path: Path) -> None:
    async with running(daemon, tmp_path / "socket") as http:
        every = await http.get("/api/resources")
        one = await http.get("/api/resources", params={"project": "shop"})
        wrong = await http.get("/api/resources", params={"projects": "shop"})
    assert every.json() == one.json() == {"resources": [], "unreachable": {"garage": "it is away"}}
    assert wrong.status_code == 400
    assert daemon.asked == [("resources", None), ("resources", "shop")]


async def test_what_a_command_tells_comes_as_it_is_told(daemon: Daemon, tmp_path: Path) -> None:
    order = {"resource": "postgres", "command": "backup", "project": "shop", "ref": "main"}
    async with running(daemon, tmp_path / "socket") as http:
        assert (await http.get("/api/commands")).json() == [msgspec.to_builtins(COMMAND)]
        async with http.stream("POST", "/api/commands", json=order) as answer:
            assert answer.status_code == 200
            lines = answer.aiter_lines()
            first = msgspec.json.decode(await anext(lines), type=views.Told)
            assert first == views.Told(line="backup")
            daemon.more.set()
            last = msgspec.json.decode(await anext(lines), type=views.Told)
            assert last == views.Told(over=True)


async def test_a_command_that_cannot_be_meant_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    order = {"resource": "postgres", "command": "backup", "project": "shap", "ref": "main"}
    async with running(daemon, tmp_path / "socket") as http:
        unknown = await http.post("/api/commands", json=order)
        wrong = await http.post("/api/commands", json={**order, "yes": True})
    assert (unknown.status_code, wrong.status_code) == (404, 400)
    assert unknown.json() == {"error": "there is no project shap"}
