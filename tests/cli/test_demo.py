"""`kennel demo` for real: git, Nix, Caddy, a daemon, a browser's view of it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kennel.testing.missing import missing


@pytest.fixture(autouse=True)
def _programs() -> None:
    for program in ("git", "nix"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")


@pytest.fixture
def tmpdir_of_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for the demo's own folder, with a path short enough for sockets."""
    folder = Path("/tmp", f"kennel-test-{os.getpid()}")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def start(folder: Path, *words: str, path: str = "") -> "subprocess.Popen[str]":
    env = {**os.environ, "TMPDIR": str(folder), "NO_COLOR": "1"}
    env["PATH"] = f"{path}:{env['PATH']}" if path else env["PATH"]
    return subprocess.Popen(
        [sys.executable, "-m", "kennel", "demo", *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Return the command lines of processes that have to do with the folder."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = status.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def test_it_shows_everything_and_leaves_nothing(tmpdir_of_demo: Path) -> None:
    with start(tmpdir_of_demo, "--exit") as process:
        said = process.communicate()[0]
    assert process.returncode == 0, said
    assert re.search(r"https://hello-main\.localhost:\d+  200 Hello from Kennel", said)
    assert re.search(r"https://hello-docs-main\.localhost:\d+/nowhere  404", said)
    assert re.search(r"'Hello from Kennel' became 'Hello again from Kennel'", said)
    assert re.search(r"[1-9]\d* requests meanwhile, 0 of them failed", said)
    assert re.search(r"https://hello-pr-1\.localhost:\d+  200 Good day", said)
    assert re.search(r"https://hello-pr-1\.localhost:\d+ is gone", said)
    assert left_behind(tmpdir_of_demo) == []
    assert list(tmpdir_of_demo.iterdir()) == []


def test_it_stays_until_ctrl_c(tmpdir_of_demo: Path) -> None:
    with start(tmpdir_of_demo, "--keep", str(tmpdir_of_demo / "kept")) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C ends it all" in line:
                break
        assert process.poll() is None, said
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0, said
    assert left_behind(tmpdir_of_demo) == []
    assert (tmpdir_of_demo / "kept/kennel.log").is_file()
    assert (tmpdir_of_demo / "kept/webhook-secret").stat().st_mode & 0o077 == 0


def test_a_failure_tells_where_the_log_is(tmpdir_of_demo: Path) -> None:
    broken = tmpdir_of_demo / "bin"
    broken.mkdir()
    (broken / "nix-build").write_text("#!/bin/sh\necho 'error: no builds today' >&2\nexit 1\n")
    (broken / "nix-build").chmod(0o755)
    with start(tmpdir_of_demo, "--exit", path=str(broken)) as process:
        said = process.communicate()[0]
    assert process.returncode == 5, said
    assert "no builds today" in said
    assert "Traceback" not in said
    log = re.search(r"The end of Kennel's log, (\S+):", said)
    assert log is not None, said
    assert Path(log[1]).is_file()
    assert left_behind(tmpdir_of_demo) == []


def test_a_demo_that_is_killed_takes_its_daemon_along(tmpdir_of_demo: Path) -> None:
    with start(tmpdir_of_demo) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Kennel runs" in line:
                break
        process.kill()
    deadline = time.monotonic() + 20
    while left_behind(tmpdir_of_demo) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(tmpdir_of_demo) == []


def test_a_folder_in_use_is_refused(tmpdir_of_demo: Path) -> None:
    (tmpdir_of_demo / "something").touch()
    with start(tmpdir_of_demo, "--keep", str(tmpdir_of_demo)) as process:
        said = process.communicate()[0]
    assert process.returncode == 2
    assert "is not empty" in said
