"""Which environment a ref goes to."""

import pytest

from kennel.domain import Environment, Ref, environment_of


@pytest.mark.parametrize(
    ("ref", "environment"),
    [
        (Ref.branch("main"), Environment.PROD),
        (Ref.branch("staging"), Environment.STAGING),
        (Ref.branch("dev"), Environment.DEV),
        (Ref.branch("feature/x"), Environment.PREVIEW),
        (Ref.branch("Main"), Environment.PREVIEW),
        (Ref.branch("heads/main"), Environment.PREVIEW),
        (Ref.branch("refs/heads/main"), Environment.PREVIEW),
        (Ref.branch("main/x"), Environment.PREVIEW),
        (Ref.branch("production"), Environment.PREVIEW),
        (Ref.branch("pr-1"), Environment.PREVIEW),
        (Ref.pull_request(1), Environment.PREVIEW),
    ],
)
def test_environment_of(ref: Ref, environment: Environment) -> None:
    assert environment_of(ref) is environment


@pytest.mark.parametrize("environment", Environment)
def test_an_environment_is_written_as_its_profile(environment: Environment) -> None:
    assert str(environment) == f"{environment}" == environment.value
    assert Environment(environment.value) is environment
