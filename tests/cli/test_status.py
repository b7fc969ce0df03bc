"""What `kennel status` looks like."""

from typing import Any

import msgspec
import pytest

from kennel.cli import status as module
from kennel.views import Deployment, Health, Provider

NOW = 1_800_000_000.0
LIVE = Deployment(
    project="shop",
    ref="main",
    name="api",
    kind="service",
    environment="prod",
    url="https://shop-main.example.net",
    urls=["https://shop-main.example.net", "https://shop.example.org"],
    state="live",
    why="",
    commit="1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d",
    build=3,
    next_state="building",
    since=NOW - 180,
)
FAILED = msgspec.structs.replace(
    LIVE,
    ref="feature/x",
    name="",
    kind="",
    environment="preview",
    url="",
    urls=[],
    state="failed",
    why="flake.nix:3: syntax error\nfix it",
    commit="ffffffffff",
    next_state="",
    since=NOW - 7200,
)
OTHER = msgspec.structs.replace(
    LIVE,
    project="blog",
    name="blog",
    kind="site",
    url="https://blog-main.example.net",
    urls=["https://blog-main.example.net"],
    next_state="",
    since=NOW,
)
HEALTHY = Health(version="1", started_at=0, passes=1, last_pass_seconds=0, providers=[])


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)


def test_a_table_for_each_project(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/status", [FAILED, LIVE, OTHER])
    daemon.give("GET /api/health", HEALTHY)
    ran = kennel("status")
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out.splitlines() == [
        "blog",
        "  URL                            REF   NAME  ENVIRONMENT  STATE  COMMIT   SINCE",
        "  https://blog-main.example.net  main  blog  prod         live   1a2b3c4  just now",
        "",
        "shop",
        (
            "  URL                            REF        NAME  ENVIRONMENT  STATE"
            "                 COMMIT   SINCE"
        ),
        (
            "  https://shop-main.example.net  main       api   prod         live, next: building"
            "  1a2b3c4  3 minutes ago"
        ),
        "    also at https://shop.example.org",
        (
            "  -                              feature/x  -     preview      failed"
            "                fffffff  2 hours ago"
        ),
        "    flake.nix:3: syntax error",
        "    fix it",
    ]


def test_one_project(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/status", [LIVE])
    daemon.give("GET /api/health", HEALTHY)
    kennel("status", "shop")
    assert daemon.asked[0].path == "/api/status?project=shop"


def test_json_is_exactly_the_views(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/status", [LIVE, FAILED])
    ran = kennel("status", "--json")
    assert msgspec.json.decode(ran.out, type=list[Deployment]) == [LIVE, FAILED]


def test_no_deployments(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/status", [])
    daemon.give("GET /api/health", HEALTHY)
    ran = kennel("status")
    assert (ran.code, ran.out) == (0, "")
    assert "kennel deploy" in ran.err


def test_a_provider_in_trouble_is_told(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/status", [OTHER])
    caddy = Provider(kind="router", name="caddy", problem="does not answer")
    daemon.give("GET /api/health", msgspec.structs.replace(HEALTHY, providers=[caddy]))
    assert kennel("status").err == "warning: router caddy: does not answer\n"


def test_what_a_branch_says_does_no_harm(daemon: Any, kennel: Any) -> None:
    evil = msgspec.structs.replace(OTHER, ref="x\x1b[2J\x1b]0;t\x07y", why="a\x1b[31mb\rc\x9bd")
    daemon.give("GET /api/status", [evil])
    daemon.give("GET /api/health", HEALTHY)
    out = kennel("status").out
    assert "xy" in out
    assert "abcd" in out
    assert not any(character in out for character in "\x1b\x07\r\x9b")


def test_a_long_ref_makes_no_narrow_terminal_unreadable() -> None:
    from kennel.cli.screen import aligned

    long = msgspec.structs.replace(LIVE, ref="feature/" + "x" * 190)
    rows = [module._row(one, NOW) for one in (LIVE, long)]
    lines = [line.plain for line in aligned(module.COLUMNS, rows, indent="", room=80)]
    assert all(len(line) <= 80 for line in lines)
    assert any("feature/xxx" in line and "…" in line for line in lines)
    assert any(
        "x" * 190 in line.plain for line in aligned(module.COLUMNS, rows, indent="", room=None)
    )


def test_a_long_reason_is_told_in_a_few_lines(daemon: Any, kennel: Any) -> None:
    why = "\n".join(f"line {n}" for n in range(9))
    failed = msgspec.structs.replace(OTHER, state="failed", why=why, build=12)
    daemon.give("GET /api/status", [failed])
    daemon.give("GET /api/health", HEALTHY)
    assert kennel("status").out.splitlines()[-4:] == [
        "    line 0",
        "    line 1",
        "    line 2",
        "    … (`kennel builds show 12`)",
    ]


def test_a_narrow_terminal_leaves_out_what_can_be_spared() -> None:
    from rich.text import Text

    from kennel.cli.screen import aligned

    rows = [module._row(LIVE, NOW)]
    wide = aligned(module.COLUMNS, rows, indent="", room=200)
    narrow = aligned(module.COLUMNS, rows, indent="", room=80)
    assert "COMMIT" in wide[0].plain
    assert "COMMIT" not in narrow[0].plain
    assert "https://shop-main.example.net" in narrow[1].plain
    assert all(isinstance(line, Text) and line.cell_len <= 80 for line in narrow)
