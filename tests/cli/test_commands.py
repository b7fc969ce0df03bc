"""Every command against a daemon: what is asked, what is shown, how it ends."""

from typing import Any

import msgspec
import pytest

from kennel.views import Build, Delivery, DeployRequest, NewProject, Project, Step

BUILD = Build(
    id=12,
    project="shop",
    ref="main",
    environment="prod",
    commit="1a2b3c4d5e6f",
    state="done",
    reason="",
    trusted=True,
    created_at=100.0,
    started_at=101.0,
    built_at=103.0,
    finished_at=104.5,
    urls=["https://shop-main.example.net"],
)
PROJECT = Project(
    name="shop",
    forge="forgejo",
    full_name="acme/shop",
    clone_url="https://git.example.org/acme/shop",
    default_branch="main",
    domains=["shop.example.org"],
    secret=None,
    token="env:SHOP_TOKEN",
    ssh_key=None,
    previews=True,
    refs=2,
    removed=False,
)
STEP = Step(tenant="shop/main", step="start api", why="build 12 is built")
DELIVERY = Delivery(
    id=1,
    forge="forgejo",
    event="push",
    project="acme/shop",
    delivery_id="b1946ac9",
    received_at=100.0,
    handled_at=101.0,
    outcome="build 12",
)


def with_(build: Build, **changes: object) -> Build:
    return msgspec.structs.replace(build, **changes)


@pytest.mark.parametrize(
    ("words", "request_", "views"),
    [
        (["projects"], "GET /api/projects", [PROJECT]),
        (["builds"], "GET /api/builds", [BUILD]),
        (["builds", "show", "12"], "GET /api/builds/12", BUILD),
        (["plan"], "GET /api/plan", [STEP]),
        (["deliveries"], "GET /api/deliveries", [DELIVERY]),
        (["deploy", "shop", "main", "--no-follow"], "POST /api/deploy", BUILD),
        (["projects", "add", "https://x.org/acme/shop"], "POST /api/projects", PROJECT),
    ],
)
def test_json_is_exactly_the_views(
    daemon: Any, kennel: Any, words: list[str], request_: str, views: Any
) -> None:
    daemon.give(request_, views)
    ran = kennel(*words, "--json")
    assert ran.code == 0
    assert msgspec.json.decode(ran.out) == msgspec.to_builtins(views)


def test_projects(daemon: Any, kennel: Any) -> None:
    daemon.give(
        "GET /api/projects",
        [PROJECT, msgspec.structs.replace(PROJECT, name="a", domains=[], removed=True)],
    )
    assert kennel("projects", "list").out.splitlines() == [
        "NAME  REPOSITORY  FORGE    DEFAULT BRANCH  PREVIEWS  REFS  DOMAINS",
        "a     acme/shop   forgejo  main            yes       2     -",
        "  being removed",
        "shop  acme/shop   forgejo  main            yes       2     shop.example.org",
    ]


def test_no_projects(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/projects", [])
    ran = kennel("projects")
    assert (ran.code, ran.out) == (0, "")
    assert "kennel projects add" in ran.err


def test_add_sends_what_was_said(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/projects", PROJECT)
    words = ["--name", "shop", "--domain", "a.org", "--domain", "*.b.org", "--secret", "env:S"]
    words += ["--token", "file:/t", "--forge", "forgejo", "--default-branch", "trunk"]
    ran = kennel("projects", "add", "git@github.com:acme/Shop.git", *words, "--no-previews")
    assert ran.code == 0
    assert msgspec.json.decode(daemon.asked[0].body, type=NewProject) == NewProject(
        url="git@github.com:acme/Shop.git",
        name="shop",
        forge="forgejo",
        full_name="acme/Shop",
        default_branch="trunk",
        domains=["a.org", "*.b.org"],
        secret="env:S",
        token="file:/t",
        previews=False,
    )


@pytest.mark.parametrize("option", ["--secret", "--token", "--ssh-key"])
def test_a_secret_itself_is_refused_and_not_repeated(daemon: Any, kennel: Any, option: str) -> None:
    ran = kennel("projects", "add", "https://x.org/acme/shop", option, "hunter2")
    assert ran.code == 2
    assert "hunter2" not in ran.err
    assert "env:NAME" in ran.err
    assert daemon.asked == []


def test_remove(daemon: Any, kennel: Any) -> None:
    daemon.give("DELETE /api/projects/shop", "")
    assert kennel("projects", "remove", "shop").code == 0
    assert daemon.asked[0].method == "DELETE"


def test_a_name_cannot_leave_its_place_in_the_path(daemon: Any, kennel: Any) -> None:
    assert kennel("projects", "remove", "../builds/1?x=y#z").code == 4
    assert daemon.asked[0].path.startswith("/api/projects/")
    assert "?" not in daemon.asked[0].path


def test_builds(daemon: Any, kennel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 160.0)
    why = "attribute 'api' missing"
    failed = with_(BUILD, id=11, state="failed", reason=why, built_at=None, finished_at=None)
    daemon.give("GET /api/builds", [BUILD, failed])
    assert kennel("builds", "shop", "main", "-n", "2").out.splitlines() == [
        "ID  PROJECT  REF   ENVIRONMENT  COMMIT   STATE   CREATED       TOOK",
        "12  shop     main  prod         1a2b3c4  done    1 minute ago  2.0 s",
        "11  shop     main  prod         1a2b3c4  failed  1 minute ago  -",
        "  attribute 'api' missing",
    ]
    assert daemon.asked[0].path == "/api/builds?project=shop&ref=main&limit=2"


def test_a_reason_of_many_lines_is_shown_whole_where_one_build_is(daemon: Any, kennel: Any) -> None:
    failed = with_(BUILD, state="failed", reason="no flake\n  at line 3", urls=[])
    daemon.give("GET /api/builds", [failed])
    daemon.give("GET /api/builds/12", failed)
    assert kennel("builds").out.splitlines()[-1] == "  no flake …"
    assert "reason       no flake\n               at line 3\n" in kennel("builds", "show", "12").out


def test_show(daemon: Any, kennel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 160.0)
    daemon.give("GET /api/builds/12", with_(BUILD, trusted=False))
    assert kennel("builds", "show", "12").out.splitlines() == [
        "build        12",
        "project      shop",
        "ref          main (from a fork: not trusted)",
        "environment  prod",
        "commit       1a2b3c4d5e6f",
        "state        done",
        "created      1 minute ago",
        "took         2.0 s",
        "url          https://shop-main.example.net",
    ]


def test_cancel(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/builds/12/cancel", "")
    assert kennel("builds", "cancel", "12").code == 0


def test_the_log_of_a_service(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/logs", "one\ntwo\x1b[2J\n")
    ran = kennel("logs", "shop", "main", "api", "-n", "5")
    assert ran.out == "one\ntwo\n"
    assert daemon.asked[0].path == "/api/logs?project=shop&ref=main&name=api&lines=5"


def test_the_log_of_a_build(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/builds/12/log", "building\n")
    assert kennel("logs", "--build", "12").out == "building\n"
    assert kennel("logs", "--build", "12", "-f").out == "building\n"
    assert [asked.path for asked in daemon.asked] == [
        "/api/builds/12/log",
        "/api/builds/12/log?follow=true",
    ]


@pytest.mark.parametrize(
    "words", [[], ["shop"], ["shop", "main", "--build", "1"], ["a", "b", "-f"]]
)
def test_logs_of_what(daemon: Any, kennel: Any, words: list[str]) -> None:
    ran = kennel("logs", *words)
    assert ran.code == 2
    assert "--build ID" in ran.err


def test_plan(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/plan", [STEP])
    assert kennel("plan").out.splitlines() == [
        "REF        STEP       WHY",
        "shop/main  start api  build 12 is built",
    ]
    daemon.give("GET /api/plan", [])
    assert "Nothing is to be done" in kennel("plan").err


def test_deliveries(daemon: Any, kennel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 160.0)
    waiting = msgspec.structs.replace(DELIVERY, id=2, outcome="", handled_at=None)
    daemon.give("GET /api/deliveries", [waiting, DELIVERY])
    assert kennel("deliveries").out.splitlines() == [
        "ID  RECEIVED      FORGE    EVENT  REPOSITORY  DELIVERY  OUTCOME",
        "2   1 minute ago  forgejo  push   acme/shop   b1946ac9  not handled yet",
        "1   1 minute ago  forgejo  push   acme/shop   b1946ac9  build 12",
    ]


def test_deploy_follows_the_build(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/deploy", with_(BUILD, state="queued"))
    daemon.give(
        "GET /api/builds/12",
        with_(BUILD, state="queued"),
        with_(BUILD, state="building"),
        with_(BUILD, state="built"),
        BUILD,
    )
    daemon.give("GET /api/builds/12/log", "fetching\nlast line")
    ran = kennel("deploy", "shop", "main")
    assert ran.code == 0
    assert ran.out == "https://shop-main.example.net\n"
    assert ran.err.splitlines() == [
        "build 12: shop/main at 1a2b3c4",
        "waiting for its turn",
        "building",
        "  fetching",
        "  last line",
        "starting what was built, waiting until it answers",
        "done: shop/main is live after 4.5 s",
    ]
    sent = msgspec.json.decode(daemon.asked[0].body, type=DeployRequest)
    assert sent == DeployRequest(project="shop", ref="main")


@pytest.mark.parametrize(
    ("state", "said"),
    [("failed", "failed: no flake.nix"), ("cancelled", "was cancelled: no flake.nix")],
)
def test_deploy_that_fails(daemon: Any, kennel: Any, state: str, said: str) -> None:
    over = with_(BUILD, state=state, reason="no flake.nix", urls=[])
    daemon.give("POST /api/deploy", with_(BUILD, state="building"))
    daemon.give("GET /api/builds/12", over)
    daemon.give("GET /api/builds/12/log", "")
    ran = kennel("deploy", "shop", "main", "--json")
    assert ran.code == 5
    assert msgspec.json.decode(ran.out, type=Build) == over
    assert (
        f"error: build 12 of shop/main {said}\n       its log: kennel logs --build 12\n" in ran.err
    )


def test_a_log_that_breaks_off_is_not_the_end(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/deploy", with_(BUILD, state="building", commit=""))
    daemon.give("GET /api/builds/12", with_(BUILD, state="building"), BUILD)
    daemon.give("GET /api/builds/12/log", "half a l")
    daemon.breaks_off.add("/api/builds/12/log")
    ran = kennel("deploy", "shop", "main")
    assert (ran.code, ran.out) == (0, "https://shop-main.example.net\n")
    assert ran.err.startswith("build 12: shop/main\n")


def test_deploy_without_following(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/deploy", with_(BUILD, state="queued"))
    ran = kennel("deploy", "shop", "main", "--no-follow")
    assert (ran.code, ran.out) == (0, "build 12 of shop/main is queued\n")
    assert len(daemon.asked) == 1
