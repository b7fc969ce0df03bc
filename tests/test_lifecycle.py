"""What becomes of a ref: from its row, the clock and the operator's terms."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kennel.domain import Environment, Ref, Tenant
from kennel.domain.record import TenantRecord
from kennel.lifecycle import Fate, Terms, fate_of, next_change

PREVIEW = TenantRecord(
    id=1,
    tenant=Tenant("shop", Ref.pull_request(5)),
    environment=Environment.PREVIEW,
    trusted=True,
    wanted=True,
    active_at=1000.0,
)
TERMS = Terms(sleep_after=100.0, expire_after=1000.0)


@pytest.mark.parametrize(
    ("idle", "changes", "fate"),
    [
        (0.0, {}, Fate.AWAKE),
        (99.9, {}, Fate.AWAKE),
        (100.0, {}, Fate.ASLEEP),
        (999.9, {}, Fate.ASLEEP),
        (1000.0, {}, Fate.EXPIRED),
        (-5000.0, {}, Fate.AWAKE),
        (5000.0, {"pinned": True}, Fate.AWAKE),
        (0.0, {"stopped": True}, Fate.STOPPED),
        (500.0, {"stopped": True}, Fate.STOPPED),
        (5000.0, {"stopped": True}, Fate.EXPIRED),
        (5000.0, {"stopped": True, "pinned": True}, Fate.STOPPED),
        (0.0, {"wanted": False}, Fate.GONE),
        (0.0, {"wanted": False, "pinned": True}, Fate.GONE),
        (0.0, {"wanted": False, "environment": Environment.STAGING}, Fate.GONE),
        (0.0, {"wanted": False, "environment": Environment.PROD}, Fate.KEPT),
        (0.0, {"wanted": False, "environment": Environment.PROD, "confirmed": True}, Fate.KEPT),
        (0.0, {"wanted": False, "environment": Environment.PROD, "purged": True}, Fate.GONE),
    ],
)
def test_a_fate(idle: float, changes: dict[str, object], fate: Fate) -> None:
    record = replace(PREVIEW, **changes)  # type: ignore[arg-type]
    assert fate_of(record, TERMS, now=1000.0 + idle) is fate


@given(
    st.floats(0, 1e10),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Environment.PROD, Environment.STAGING, Environment.DEV]),
)
def test_the_dev_branch_never_expires_however_long_it_is_idle(
    now: float, pinned: bool, stopped: bool, environment: Environment
) -> None:
    record = replace(PREVIEW, environment=environment, pinned=pinned, stopped=stopped)
    assert fate_of(record, Terms(), now=now) in {Fate.AWAKE, Fate.STOPPED}


@given(st.floats(0, 3000))
def test_a_fate_does_not_change_before_it_is_said_to(now: float) -> None:
    after = next_change(PREVIEW, TERMS, now=now)
    before = fate_of(PREVIEW, TERMS, now=now)
    if after is None:
        assert fate_of(PREVIEW, TERMS, now=now + 1e9) is before
    else:
        assert fate_of(PREVIEW, TERMS, now=now + after * 0.999) is before
        assert fate_of(PREVIEW, TERMS, now=now + after * 1.001 + 1e-3) is not before
