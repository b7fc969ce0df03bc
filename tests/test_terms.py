"""What kennel.toml grants each tenant."""

import pytest

from kennel.domain import Ref, Tenant
from kennel.errors import ConfigError
from kennel.lifecycle import Terms
from kennel.settings import Settings, parse
from kennel.terms import limits_of, terms_of

DAY = 86400.0
MAIN = Tenant("shop", Ref.branch("main"))
DEV = Tenant("shop", Ref.branch("dev"))
PULL = Tenant("shop", Ref.pull_request(3))


def settings(text: str) -> Settings:
    return parse(text, source="kennel.toml")


def test_previews_sleep_after_a_week_and_go_after_a_month_unless_somebody_says_otherwise() -> None:
    nothing = settings("")
    assert terms_of(PULL, nothing) == Terms(sleep_after=7 * DAY, expire_after=30 * DAY)
    assert terms_of(MAIN, nothing) == terms_of(DEV, nothing) == Terms()


@pytest.mark.parametrize(
    ("text", "tenant", "sleep_after", "expire_after"),
    [
        ('[environments.preview]\nsleep_after = "30m"', PULL, 1800.0, 30 * DAY),
        ("[environments.preview]\nsleep_after = 0", PULL, None, 30 * DAY),
        ('[environments.staging]\nsleep_after = "1h"', MAIN, None, None),
        ('[environments.dev]\nsleep_after = "1h"', DEV, 3600.0, None),
        ('[projects.shop]\nsleep_after = "2d"', PULL, 2 * DAY, 30 * DAY),
        ('[projects.shop]\nsleep_after = "2d"', MAIN, None, None),
        ('[projects.other]\nsleep_after = "2d"', PULL, 7 * DAY, 30 * DAY),
        ('[previews]\nexpire_after = "60d"', PULL, 7 * DAY, 60 * DAY),
        ("[previews]\nexpire_after = 0", PULL, 7 * DAY, None),
    ],
)
def test_how_long_a_tenant_may_be_idle(
    text: str, tenant: Tenant, sleep_after: float | None, expire_after: float | None
) -> None:
    expected = Terms(sleep_after=sleep_after, expire_after=expire_after)
    assert terms_of(tenant, settings(text)) == expected


def test_a_span_that_is_none_is_refused_with_what_would_be_one() -> None:
    with pytest.raises(ConfigError, match=r"environments\.preview.*sleep_after"):
        settings('[environments.preview]\nsleep_after = "soon"')


def test_an_environment_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="production"):
        settings("[environments.production]\nmemory_max = 1")


def test_the_project_goes_before_the_environment_and_that_before_the_rest() -> None:
    given = settings(
        """
        [services]
        memory_max = 1
        cpu_weight = 10
        tasks_max = 100
        [environments.preview]
        memory_max = 2
        cpu_weight = 20
        [projects.shop]
        memory_max = 3
        """
    )
    limits = limits_of(PULL, given)
    assert (limits.memory_max, limits.cpu_weight, limits.tasks_max) == (3, 20, 100)
    other = limits_of(Tenant("other", PULL.ref), given)
    assert (other.memory_max, other.cpu_weight, other.tasks_max) == (2, 20, 100)
    assert limits_of(Tenant("other", MAIN.ref), given).memory_max == 1
