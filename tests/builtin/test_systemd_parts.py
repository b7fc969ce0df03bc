"""What the systemd supervisor is made of, as far as it needs no systemd."""

import asyncio
import json
import re
import subprocess
import sys

import pytest
from dbus_fast import Variant
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kennel.builtin.systemd.command import commanded, in_other_words
from kennel.builtin.systemd.environment import encode
from kennel.builtin.systemd.failures import Failures, describe, ended
from kennel.builtin.systemd.jobs import KEPT, Jobs
from kennel.builtin.systemd.properties import MARK
from kennel.builtin.systemd.rows import Found, Row, group
from kennel.domain import Secret, UnitState
from kennel.testing.probe import LITERAL


async def test_a_job_that_ended_before_anybody_asked_is_known() -> None:
    jobs = Jobs()
    jobs.removed("/job/1", "done")
    assert await jobs.result("/job/1", within=0.1) == "done"
    assert await jobs.result("/job/1", within=0.1) == "done"


async def test_all_who_wait_for_a_job_are_told() -> None:
    jobs = Jobs()
    waiting = [asyncio.create_task(jobs.result("/job/1", within=5)) for _ in range(3)]
    await asyncio.sleep(0)
    jobs.removed("/job/2", "failed")
    jobs.removed("/job/1", "canceled")
    assert await asyncio.gather(*waiting) == ["canceled"] * 3


async def test_a_loss_wakes_everybody_and_a_silent_job_times_out() -> None:
    jobs = Jobs()
    waiting = [asyncio.create_task(jobs.result(f"/job/{n}", within=5)) for n in range(3)]
    await asyncio.sleep(0)
    jobs.lost()
    assert await asyncio.gather(*waiting) == [None] * 3
    assert await jobs.result("/job/9", within=0.01) is None


async def test_old_jobs_are_forgotten() -> None:
    jobs = Jobs()
    for number in range(KEPT + 1):
        jobs.removed(f"/job/{number}", "done")
    assert await jobs.result("/job/0", within=0.01) is None
    assert await jobs.result(f"/job/{KEPT}", within=0.01) == "done"


@pytest.mark.parametrize(
    ("result", "code", "status", "words"),
    [
        ("exit-code", 1, 3, "exited with status 3"),
        ("exit-code", 1, 203, "its program cannot be executed (203/EXEC)"),
        ("signal", 2, 9, "killed by SIGKILL"),
        ("core-dump", 3, 11, "killed by SIGSEGV (core dumped)"),
        ("signal", 2, 250, "killed by signal 250"),
        ("oom-kill", 2, 9, "it used more memory than it may (oom-kill)"),
        ("timeout", 2, 9, "did not start or stop in time"),
        ("exec-condition", 0, 0, "failed (exec-condition)"),
        ("success", 1, 0, ""),
    ],
)
def test_a_failure_is_put_into_words(result: str, code: int, status: int, words: str) -> None:
    assert describe(result, code, status) == words


def test_a_failure_outlives_the_unit_and_the_restart() -> None:
    failures = Failures()
    failed = {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 3}
    failures.changed("a", failed)
    failures.changed("a", {"Result": "success"})
    assert failures.reason("a") == "exited with status 3"
    assert failures.given_up() == {}
    failures.changed("a", failed)
    failures.removed("a")
    assert failures.given_up() == {"a": "exited with status 3"}
    failures.forget("a")
    assert failures.given_up() == {}


@pytest.mark.parametrize(
    ("result", "code", "status", "executed"),
    [
        ("exit-code", 1, 3, True),
        ("signal", 2, 9, True),
        ("oom-kill", 2, 9, True),
        ("exit-code", 1, 199, True),
        ("exit-code", 1, 203, False),
        ("exit-code", 1, 209, False),
        ("resources", 0, 0, False),
        ("timeout", 2, 15, False),
        ("success", 0, 0, False),
    ],
)
def test_what_fails_at_once_was_executed_all_the_same(
    result: str, code: int, status: int, *, executed: bool
) -> None:
    failures = Failures()
    failures.begin("a")
    failures.changed("a", {"Result": result, "ExecMainCode": code, "ExecMainStatus": status})
    assert failures.was_executed("a") is executed
    assert not failures.was_executed("never heard of")


def test_a_run_that_ends_well_takes_back_why_the_one_before_failed() -> None:
    failures = Failures()
    failures.begin("a")
    failures.changed("a", {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 3})
    failures.changed("a", {"Result": "success", "ExecMainCode": 1, "ExecMainStatus": 3})
    failures.changed("a", {"Result": "success", "ExecMainCode": 0, "ExecMainStatus": 0})
    assert failures.reason("a") == "exited with status 3"
    failures.changed("a", {"Result": "success", "ExecMainCode": 1, "ExecMainStatus": 0})
    assert failures.reason("a") == ""


def test_what_was_missed_is_asked_for() -> None:
    failures = Failures()
    assert not failures.knows("a")
    failures.begin("a")
    assert failures.knows("a")
    failures.lost()
    assert not failures.knows("a")
    failures.learn("a", {"Result": "success", "ExecMainCode": 1, "ExecMainStatus": 3})
    assert failures.knows("a")
    assert failures.reason("a") == "exited with status 3"


@pytest.mark.parametrize(
    ("result", "code", "status", "words"),
    [
        ("success", 0, 0, ""),
        ("success", 1, 0, ""),
        ("success", 1, 3, "exited with status 3"),
        ("success", 2, 15, "killed by SIGTERM"),
        ("success", 3, 11, "killed by SIGSEGV (core dumped)"),
        ("oom-kill", 2, 9, "it used more memory than it may (oom-kill)"),
    ],
)
def test_how_a_service_ended_is_told_after_its_failure_was_forgiven(
    result: str, code: int, status: int, words: str
) -> None:
    seen = {"Result": result, "ExecMainCode": code, "ExecMainStatus": status}
    assert ended(seen) == words


def row(kind: str, active: str, sub: str = "") -> Row:
    name = f"kennel-shop--main--api--0123456789ab.{kind}"
    return Row(name, f"{MARK}shop/main:api", "loaded", active, sub, "/")


@pytest.mark.parametrize(
    ("service", "timer", "state"),
    [
        (row("service", "active", "running"), None, UnitState.RUNNING),
        (row("service", "active", "exited"), None, None),
        (row("service", "activating", "start"), None, UnitState.STARTING),
        (row("service", "activating", "auto-restart"), None, UnitState.RESTARTING),
        (row("service", "inactive", "dead"), None, None),
        (row("service", "failed", "failed"), None, UnitState.FAILED),
        (row("service", "inactive"), row("timer", "active", "waiting"), UnitState.SCHEDULED),
        (row("service", "failed"), row("timer", "active", "waiting"), UnitState.SCHEDULED),
        (row("service", "inactive"), row("timer", "active", "elapsed"), UnitState.SCHEDULED),
        (row("service", "activating"), row("timer", "active", "running"), UnitState.RUNNING),
        (row("service", "deactivating"), row("timer", "active", "running"), UnitState.RUNNING),
        (row("service", "inactive"), row("timer", "failed"), UnitState.FAILED),
        (row("service", "inactive"), row("timer", "inactive"), None),
        (row("service", "activating"), row("timer", "inactive"), UnitState.STARTING),
    ],
)
def test_a_timer_and_its_service_are_one_unit(
    service: Row, timer: Row | None, state: UnitState | None
) -> None:
    (found,) = group([one for one in (timer, service) if one]).values()
    status = found.status("kennel-shop--main--api--0123456789ab", Failures())
    assert (status and status.state) is state


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("", ""),
        ("exited with status 3", "its last run exited with status 3"),
        ("killed by SIGKILL", "its last run was killed by SIGKILL"),
        ("it took longer than 5 s", "its last run took longer than 5 s"),
        ("did not start or stop in time", "its last run took longer than it may"),
        (
            "its program cannot be executed (203/EXEC)",
            "its last run failed: its program cannot be executed (203/EXEC)",
        ),
    ],
)
def test_how_the_last_run_ended_is_a_sentence(reason: str, words: str) -> None:
    name = "kennel-shop--main--api--0123456789ab"
    failures = Failures()
    failures.begin(name)
    failures._units[name].reason = reason
    found = Found(row("service", "failed"), row("timer", "active"))
    status = found.status(name, failures)
    assert status
    assert status.reason == words


def test_an_end_that_is_no_failure_is_not_remembered() -> None:
    failures = Failures()
    failures.changed("a", {"Result": "success", "ExecMainCode": 1, "ExecMainStatus": 0})
    failures.removed("a")
    failures.removed("never heard of")
    assert failures.given_up() == {}


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4)
)
@settings(max_examples=50, deadline=None)
@example(list(LITERAL))
@example(["\n", "a\n", "'", "''", "\\'", "\\044", "\\n", "`id`", "%s", "$(id)", "-n"])
def test_a_command_in_other_words_is_the_same(words: list[str]) -> None:
    tell = "import json, sys; print(json.dumps([ascii(word) for word in sys.argv[1:]]))"
    command = in_other_words([sys.executable, "-c", tell, *words])
    assert not re.search("[$;]", " ".join(command))
    said = json.loads(subprocess.check_output(command))
    assert said == [ascii(word) for word in words]


def test_a_command_is_told_in_other_words_only_where_it_must_be() -> None:
    plain = commanded(["/bin/x", "--a=b", "'", "%n"])
    assert {name: value.value for name, value in plain.items() if isinstance(value, Variant)} == {
        "ExecStart": [["/bin/x", ["/bin/x", "--a=b", "'", "%n"], False]]
    }
    for word in ("$HOME", "a;b"):
        first, last = commanded(["/bin/x", word]).values()
        assert isinstance(first, Variant)
        assert isinstance(last, tuple)
        assert first.value[0][0] == "/bin/sh"
        told = [["/bin/x", ["/bin/x", word], ["no-env-expand"]]]
        assert [value.value for value in last] == [[], told]


def test_an_environment_file_quotes_what_has_a_meaning() -> None:
    env = {"A": Secret('say "$HOME" `id` \\'), "B": Secret("one\ntwo"), "C": Secret("")}
    text = encode(env, unit="u").decode()
    assert text == 'A="say \\"\\$HOME\\" \\`id\\` \\\\"\nB="one\ntwo"\nC=""\n'
