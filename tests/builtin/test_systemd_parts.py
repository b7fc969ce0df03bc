"""What the systemd supervisor is made of, as far as it needs no systemd."""

import asyncio

import pytest

from kennel.builtin.systemd.environment import encode
from kennel.builtin.systemd.failures import Failures, describe
from kennel.builtin.systemd.jobs import KEPT, Jobs
from kennel.domain import Secret


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


def test_an_end_that_is_no_failure_is_not_remembered() -> None:
    failures = Failures()
    failures.changed("a", {"Result": "success", "ExecMainCode": 1, "ExecMainStatus": 0})
    failures.removed("a")
    failures.removed("never heard of")
    assert failures.given_up() == {}


def test_an_environment_file_quotes_what_has_a_meaning() -> None:
    env = {"A": Secret('say "$HOME" `id` \\'), "B": Secret("one\ntwo"), "C": Secret("")}
    text = encode(env, unit="u").decode()
    assert text == 'A="say \\"\\$HOME\\" \\`id\\` \\\\"\nB="one\ntwo"\nC=""\n'
