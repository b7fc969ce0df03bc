"""The command as a process of its own: in a pipe, on a terminal, and when nobody reads on."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kennel.views import Deployment, Health

LIVE = Deployment(
    project="shop",
    ref="main",
    name="api",
    kind="service",
    environment="prod",
    url="https://shop-main.example.net",
    urls=["https://shop-main.example.net"],
    state="live",
    why="",
    commit="1a2b3c4d5e6f",
    build=3,
    next_state="",
    since=0.0,
)
HEALTHY = Health(version="1", started_at=0, passes=1, last_pass_seconds=0, providers=[])
WIDTH = 60


@pytest.fixture
def command(daemon: Any, config: Path) -> list[str]:
    daemon.give("GET /api/status", [LIVE] * 2000)
    daemon.give("GET /api/health", HEALTHY)
    return [sys.executable, "-m", "kennel", "--config", str(config), "status"]


def plain_environment(**more: str) -> dict[str, str]:
    unwanted = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "KENNEL_CONFIG"}
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    return {**kept, "TERM": "xterm-256color", **more}


def on_a_terminal(command: list[str], env: dict[str, str]) -> str:
    """Return what a command writes to a terminal that is 60 columns wide."""
    main, terminal = os.openpty()
    os.set_blocking(main, True)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=env, close_fds=True
    )
    os.close(terminal)
    said = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other end is closed: EIO
            break
        said += piece
    os.close(main)
    assert process.wait() == 0
    return said.decode()


def test_a_pipe_gets_whole_lines_without_colours(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env=plain_environment(COLUMNS="40"), check=True
    )
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) == 2002
    assert lines[2].split()[:5] == [
        "https://shop-main.example.net",
        "main",
        "api",
        "prod",
        "live",
    ]
    assert all(line == line.rstrip() for line in lines)


def test_a_terminal_gets_colours_and_links(command: list[str]) -> None:
    said = on_a_terminal(command, plain_environment())
    assert "\x1b[32mlive" in said
    assert "https://shop-main.example.net\x1b\\" in said


def test_no_color_is_respected(command: list[str]) -> None:
    said = on_a_terminal(command, plain_environment(NO_COLOR="1"))
    assert "\x1b[32m" not in said
    assert "live" in said


def test_a_narrow_terminal_gets_fewer_columns(command: list[str]) -> None:
    said = on_a_terminal(command, plain_environment(NO_COLOR="1"))
    assert "STATE" in said
    assert "COMMIT" not in said


def test_a_reader_that_goes_away_is_no_disaster(command: list[str]) -> None:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"shop\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_json_has_no_colours_on_a_terminal(command: list[str]) -> None:
    said = on_a_terminal([*command, "--json"], plain_environment())
    assert msgspec.json.decode(said.replace("\r\n", "\n"), type=list[Deployment]) == [LIVE] * 2000
