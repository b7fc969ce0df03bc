"""`kennel sweep`: what is asked, what is shown, how it ends."""

from typing import Any

import msgspec
import pytest

from kennel.views import Health, Problem, Provider, Repair, Swept

FOUND = [
    Swept(project="shop", repairs=[], problem=""),
    Swept(
        project="till",
        repairs=[
            Repair(ref="fix", kind="changed", commit="c0ffee" * 6, why="build 7 of till/fix"),
            Repair(ref="pr-5", kind="gone", commit="", why="till/pr-5 is gone"),
        ],
        problem="",
    ),
]
HELD = Swept(
    project="shop",
    repairs=[Repair(ref="old", kind="held", commit="", why="too many")],
    problem="4 of 5 refs are missing at once. If that is right: `kennel sweep shop --force`",
)
AWAY = Swept(project="far\x1b[2J", repairs=[], problem="https://far cannot be reached")


def test_what_was_repaired_is_listed(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/sweep", FOUND)
    ran = kennel("sweep")
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["PROJECT", "REF", "COMMIT", "WHAT", "WHY"],
        ["till", "fix", "c0ffeec", "changed", "build", "7", "of", "till/fix"],
        ["till", "pr-5", "-", "gone", "till/pr-5", "is", "gone"],
    ]
    assert msgspec.json.decode(daemon.asked[0].body) == {"project": None, "force": False}


def test_what_is_asked(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/sweep", FOUND[:1])
    ran = kennel("sweep", "shop", "--force")
    assert (ran.code, ran.out) == (0, "")
    assert "No webhook was lost" in ran.err
    assert msgspec.json.decode(daemon.asked[0].body) == {"project": "shop", "force": True}


def test_json_is_exactly_the_views(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/sweep", FOUND)
    ran = kennel("sweep", "--json")
    assert ran.code == 0
    assert msgspec.json.decode(ran.out) == msgspec.to_builtins(FOUND)


def test_what_is_held_back_says_how_to_let_it_go(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/sweep", [HELD])
    ran = kennel("sweep", "shop")
    assert ran.code == 1
    assert "held back" in ran.out
    assert ran.err == f"error: shop: {HELD.problem}\n"
    assert kennel("sweep", "shop", "--json").code == 1


def test_several_troubles_are_told_one_by_one(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/sweep", [*FOUND, HELD, AWAY])
    ran = kennel("sweep")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        f"warning: shop: {HELD.problem}",
        "warning: far: https://far cannot be reached",
        "error: 2 projects could not be looked at in full",
    ]


def test_an_unknown_project(daemon: Any, kennel: Any) -> None:
    daemon.give("POST /api/sweep", Problem(error="no project is called 'x'"), status=404)
    ran = kennel("sweep", "x")
    assert ran.code == 4
    assert "no project is called 'x'" in ran.err


@pytest.mark.parametrize(
    ("words", "told"), [(["status"], True), (["status", "shop"], True), (["status", "x"], False)]
)
def test_status_tells_of_repositories_that_cannot_be_asked(
    daemon: Any, kennel: Any, words: list[str], told: bool
) -> None:
    health = Health(
        version="1",
        started_at=1.0,
        passes=1,
        last_pass_seconds=0.1,
        providers=[Provider(kind="router", name="caddy", problem="")],
        unswept={"shop": "cannot be reached"},
    )
    daemon.give("GET /api/status", [])
    daemon.give("GET /api/health", health)
    assert ("warning: shop: cannot be reached" in kennel(*words).err) is told
