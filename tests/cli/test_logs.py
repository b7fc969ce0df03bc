"""Log lines: one layout for each reader, and no secret in any."""

import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import structlog

from kennel import logs
from kennel.domain import Secret

LAYOUTS = ("human", "json", "logfmt")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging belongs to the whole process: put back what was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in logs.CHATTY}
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@dataclass
class Holder:
    inner: Secret


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_secret_is_not_in_any_layout(layout: logs.Format, out: io.StringIO) -> None:
    logs.configure(layout=layout, stream=out)
    secret = Secret("hunter2")
    everywhere = {
        "plain": secret,
        "nested": {"a": [secret, (secret,)], "b": {"c": {secret}}},
        "holder": Holder(secret),
        "key": {secret: 1},
        "env": {"A": secret},
    }
    log = structlog.get_logger("kennel.test")
    log.bind(bound=secret).info("structlog", **everywhere)
    log.info("positional %s", secret)
    logging.getLogger("kennel.test").warning("standard %s %r", secret, [secret], extra=everywhere)
    with structlog.contextvars.bound_contextvars(context=secret):
        log.info("context")
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
        logging.getLogger("kennel.test").exception("failed")
    assert out.getvalue().count("failed") >= 2
    assert logs.REDACTED in out.getvalue()
    assert "hunter2" not in out.getvalue()


def test_json_is_an_object_on_each_line(out: io.StringIO) -> None:
    logs.configure(layout="json", stream=out)
    structlog.get_logger("kennel.a").info("built\nit", build=3, paths=["x"])
    logging.getLogger("kennel.b").warning("hm", extra={"tenant": "shop/main"})
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "built\nit",
        "build": 3,
        "paths": ["x"],
        "level": "info",
        "logger": "kennel.a",
    }
    assert (second["event"], second["level"], second["tenant"]) == ("hm", "warning", "shop/main")


def test_the_journal_gets_one_line_with_its_priority(out: io.StringIO) -> None:
    logs.configure(layout="logfmt", stream=out)
    structlog.get_logger("kennel.a").error("two\nlines", build=3, why="x y")
    assert out.getvalue() == (
        '<3>level=error event=two\\nlines build=3 why="x y" logger=kennel.a\n'
    )


def test_people_get_a_short_line(out: io.StringIO) -> None:
    logs.configure(layout="human", stream=out)
    structlog.get_logger("kennel.a").info("built", build=3)
    line = out.getvalue()
    assert "[info" in line
    assert "built" in line
    assert "build=3" in line
    assert "\x1b" not in line


def test_a_level_holds_for_both(out: io.StringIO) -> None:
    logs.configure(level="warning", layout="json", stream=out)
    structlog.get_logger().info("no")
    logging.getLogger("kennel").info("no")
    logging.getLogger("httpx").info("no")
    structlog.get_logger().warning("yes")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["yes"]


def test_a_pipe_gets_json_and_the_journal_logfmt(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as read, os.fdopen(writer, "w") as pipe:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        logs.configure(stream=pipe)
        structlog.get_logger().info("one")
        status = os.fstat(writer)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure(stream=pipe)
        structlog.get_logger("kennel.a").info("two")
        pipe.flush()
        assert json.loads(read.readline())["event"] == "one"
        assert read.readline() == "<6>level=info event=two logger=kennel.a\n"


@pytest.mark.parametrize("no_color", [True, False])
def test_a_terminal_gets_colours_unless_they_are_unwanted(
    monkeypatch: pytest.MonkeyPatch, *, no_color: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", "1" if no_color else "")
    main, terminal = os.openpty()
    with os.fdopen(main, "rb", buffering=0) as read, os.fdopen(terminal, "w") as tty:
        logs.configure(stream=tty)
        structlog.get_logger().info("hello")
        tty.flush()
        assert (b"\x1b[" in read.read(4096)) is not no_color
