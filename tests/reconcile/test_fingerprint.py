"""What makes one generation another one."""

from dataclasses import replace
from pathlib import Path

import pytest

from kennel.domain import Limits, Secret, Service
from kennel.reconcile.variables import Fingerprint

API = Service(name="api", package="api")
ENV = {"MODE": Secret("one")}


@pytest.mark.parametrize(
    ("service", "command", "env", "restarts"),
    [
        (API, ("/bin/b",), ENV, 0),
        (API, ("/bin/a",), {"MODE": Secret("two")}, 0),
        (API, ("/bin/a",), ENV, 1),
        (API, ("/bin/a",), ENV, 2),
        (replace(API, port=False), ("/bin/a",), ENV, 0),
        (replace(API, schedule="daily"), ("/bin/a",), ENV, 0),
        (replace(API, schedule="weekly"), ("/bin/a",), ENV, 0),
        (replace(API, limits=Limits(tasks_max=3)), ("/bin/a",), ENV, 0),
    ],
)
def test_what_matters_makes_another_generation(
    tmp_path: Path,
    service: Service,
    command: tuple[str, ...],
    env: dict[str, Secret],
    restarts: int,
) -> None:
    fingerprint = Fingerprint(tmp_path / "key")
    first = fingerprint.of(API, ("/bin/a",), ENV)
    assert fingerprint.of(API, ("/bin/a",), ENV) == first
    other = fingerprint.of(service, command, env, restarts=restarts)
    assert other != first
    assert fingerprint.of(service, command, env, restarts=restarts + 1) != other


def test_a_digest_says_nothing_on_another_machine(tmp_path: Path) -> None:
    one, other = (Fingerprint(tmp_path / name) for name in ("one", "other"))
    assert one.of(API, ("/bin/a",), ENV) != other.of(API, ("/bin/a",), ENV)
