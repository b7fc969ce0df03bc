"""What people read of Nix's internal-json log."""

import json
from typing import Any

import pytest

from kennel.build.progress import Progress, name_of, tidy

HASH = "9b7nmbrknllp4aas5vjx6a7hprmya8ll"
API = f"/nix/store/{HASH}-api-1.0.drv"
LIB = f"/nix/store/{HASH}-lib.drv"


def line(**message: Any) -> str:
    return "@nix " + json.dumps(message)


def start(number: int, path: str) -> str:
    return line(action="start", id=number, type=105, level=3, text="", fields=[path, "", 1, 1])


def test_a_build_is_told_under_the_name_of_its_package() -> None:
    progress = Progress(names={API: "api"})
    shown = progress.read(
        [
            line(action="start", id=1, type=104, level=0, text=""),
            line(action="result", id=1, type=105, fields=[0, 5, 0, 0]),
            start(2, LIB),
            start(3, API),
            line(action="result", id=3, type=104, fields=["buildPhase"]),
            line(action="result", id=3, type=101, fields=["compiling \x1b[1mmain\x1b[0m"]),
            line(action="result", id=2, type=101, fields=["of the library"]),
            line(action="stop", id=3),
        ]
    )
    assert shown == [
        "building 1/5: lib",
        "building 2/5: api",
        "[api] phase: buildPhase",
        "[api] compiling main",
        "[lib] of the library",
    ]


@pytest.mark.parametrize(
    "strange",
    [
        line(action="start", id=9, type=99999, text="new in some version", fields=[{"a": 1}, []]),
        line(action="result", id=77, type=101, fields=["of an activity that nobody started"]),
        line(action="result", id=77, type=105, fields=[]),
        line(action="result", id=1, type=105, fields=["x", None]),
        line(action="greet", id=9),
        line(action="stop", id=9),
        "@nix {not json",
        "@nix ",
        "@nix []",
        "@nix {}",
        line(action="start", id=2**63, type=105, fields=[]),
    ],
)
def test_what_is_not_known_harms_nothing(strange: str) -> None:
    progress = Progress()
    progress.read([line(action="start", id=1, type=104), strange])
    assert "[api] on" not in progress.read([strange])
    shown = progress.read([start(3, API), line(action="result", id=3, type=101, fields=["on"])])
    assert shown[-1] == "[api-1.0] on"


def test_plain_lines_are_shown_as_they_are() -> None:
    assert Progress().read(["warning: from git", "", "  "]) == ["warning: from git"]


def test_a_failure_quotes_the_end_of_the_log_of_what_failed() -> None:
    progress = Progress(names={API: "api"})
    progress.read([start(1, LIB), line(action="result", id=1, type=101, fields=["fine"])])
    progress.read([start(2, API)])
    for number in range(100):
        progress.read([line(action="result", id=2, type=101, fields=[f"line {number}"])])
    message = f"\x1b[31;1merror:\x1b[0m builder for '\x1b[1m{API}\x1b[0m' failed with exit code 3"
    progress.read([line(action="msg", level=0, msg=message)])
    told = progress.failure().splitlines()
    assert told[0] == f"builder for '{API}' failed with exit code 3"
    assert told[1] == "the last lines of api:"
    assert told[-1] == "  line 99"
    assert len(told) == 22
    assert "fine" not in progress.failure()


def test_a_failure_without_an_error_message_quotes_what_was_said() -> None:
    progress = Progress()
    progress.read(["terminate called after throwing an instance of 'std::bad_alloc'"])
    assert "bad_alloc" in progress.failure()
    assert Progress().failure() == "Nix failed without a word"


def test_messages_are_told_without_colours_hints_and_paths_of_copies() -> None:
    old = (
        "\x1b[31;1merror:\x1b[0m syntax error, unexpected ';'\n\n       \x1b[34;1mat "
        f"\x1b[35;1m/nix/store/{HASH}-source/sub/flake.nix:1:111\x1b[0m:\n\n"
        "            1| { x = (;\n"
        "             |       ^\n(use '--show-trace' to show detailed location information)"
    )
    assert tidy(old).splitlines() == [
        "syntax error, unexpected ';'",
        "       at sub/flake.nix:1:111:",
        "            1| { x = (;",
        "             |       ^",
    ]
    new = (
        f"error: builder for '{API}' failed with exit code 1;\n       last 2 log lines:\n"
        "       > one\n       > two\n       For full logs, run 'nix log /nix/store/x.drv'."
    )
    assert tidy(new) == f"builder for '{API}' failed with exit code 1;"


@pytest.mark.parametrize(
    ("path", "name"),
    [(API, "api-1.0"), ("/tmp/x/short-api.drv", "short-api"), ("", "")],
)
def test_names_of_store_paths(path: str, name: str) -> None:
    assert name_of(path) == name


def test_a_failure_is_not_told_with_warnings_where_there_is_an_error() -> None:
    progress = Progress()
    progress.read(["warning: no group", "the group does not exist"])
    assert progress.failure() == "the group does not exist"
    only = Progress()
    only.read(["warning: no group"])
    assert only.failure() == "warning: no group"
