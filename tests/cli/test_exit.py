"""How commands end when something is wrong: a status, a line or two, no traceback."""

import socket
from pathlib import Path
from typing import Any

import pytest

from kennel.cli.app import EPILOG
from kennel.cli.outcome import Exit


def test_no_daemon(kennel: Any, folder: Path) -> None:
    ran = kennel("status")
    assert ran.code == 3
    assert ran.err == (
        f"error: Kennel is not running here (no {folder}/control.sock)\n"
        "       start it with `kennel serve`, or point --config at its kennel.toml\n"
    )


def test_a_socket_nobody_listens_on(kennel: Any, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(folder / "control.sock"))
    ran = kennel("status")
    assert ran.code == 3
    assert "nobody listens on" in ran.err


@pytest.mark.parametrize(
    ("status", "code"), [(404, 4), (409, 1), (400, 2), (422, 2), (500, 1), (503, 1)]
)
def test_what_the_daemon_refuses(daemon: Any, kennel: Any, status: int, code: int) -> None:
    daemon.refuse("GET /api/plan", status, "there is no project 'shop'")
    ran = kennel("plan")
    assert ran.code == code
    assert ran.err.startswith("error: there is no project 'shop'\n")
    assert ran.out == ""


def test_an_answer_that_is_no_problem(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/plan", "<html>", status=502)
    assert "Kennel answered 502" in kennel("plan").err


def test_an_answer_of_another_version(daemon: Any, kennel: Any) -> None:
    daemon.give("GET /api/plan", '[{"steps": 1}]')
    ran = kennel("plan")
    assert ran.code == 1
    assert "different versions" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["nope"],
        ["status", "--nope"],
        ["builds", "show", "x"],
        ["deploy", "shop"],
        ["builds", "-n", "0"],
    ],
)
def test_wrong_usage(daemon: Any, kennel: Any, words: list[str]) -> None:
    ran = kennel(*words)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "--help" in ran.err
    asked = [one.path for one in daemon.asked]
    assert asked == (["/api/commands"] if words == ["nope"] else []), "a plugin may have such a one"


@pytest.mark.parametrize("before", [True, False])
def test_config_may_stand_before_or_behind_the_command(
    kennel: Any, folder: Path, before: bool
) -> None:
    words = ["--config", str(folder / "other.toml")]
    ran = kennel(*words, "status") if before else kennel("status", *words)
    assert ran.code == 2
    assert ran.err == f"error: {folder}/other.toml: No such file or directory\n"


def test_a_configuration_that_is_wrong(kennel: Any, config: Path) -> None:
    config.write_text("[web]\nprot = 1\n")
    ran = kennel("status")
    assert ran.code == 2
    assert "prot" in ran.err


def test_what_nobody_expected_is_short(kennel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("kennel.settings.load", explode)
    ran = kennel("status")
    assert ran.code == 1
    assert ran.err.startswith("error: ZeroDivisionError: by nothing\n")
    assert "Traceback" not in ran.err
    assert "Traceback" in kennel("--debug", "status").err


def test_ctrl_c(kennel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kennel.settings.load", interrupt)
    assert kennel("status").code == 130


def test_the_statuses_are_in_the_help(kennel: Any) -> None:
    text = kennel("--help").out
    assert all(code.meaning in EPILOG and code.meaning in text for code in Exit)


@pytest.mark.parametrize("words", [["--version"], ["--help"], [], ["builds", "--help"]])
def test_what_always_works(kennel: Any, words: list[str]) -> None:
    ran = kennel(*words)
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out
