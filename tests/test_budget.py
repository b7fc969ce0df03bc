"""Who runs where there is not memory for all previews."""

from hypothesis import given
from hypothesis import strategies as st

from kennel.budget import BUSY, Guest, Seating, seat
from kennel.domain import Ref, Tenant

NOW = 10_000.0


def guest(number: int, *, idle: float, memory: int = 1, **more: bool) -> Guest:
    return Guest(
        tenant=Tenant("shop", Ref.pull_request(number)),
        memory=memory,
        active_at=NOW - idle,
        running=more.get("running", True),
        pinned=more.get("pinned", False),
    )


def names(tenants: frozenset[Tenant]) -> set[int]:
    return {int(tenant.ref.short.removeprefix("pr-")) for tenant in tenants}


def test_without_a_limit_everybody_runs() -> None:
    assert seat([guest(1, idle=1e9, memory=1 << 60)], most=None, now=NOW) == Seating()


def test_who_was_idle_longest_sleeps_for_who_comes() -> None:
    guests = [guest(1, idle=900), guest(2, idle=300), guest(3, idle=0, running=False)]
    seating = seat(guests, most=2, now=NOW)
    assert (names(seating.sleep), names(seating.wait)) == ({1}, set())


def test_nobody_is_put_to_sleep_who_was_needed_a_moment_ago() -> None:
    guests = [guest(1, idle=BUSY / 2), guest(2, idle=0, running=False)]
    seating = seat(guests, most=1, now=NOW)
    assert (names(seating.sleep), names(seating.wait)) == (set(), {2})


def test_who_is_pinned_is_not_put_to_sleep() -> None:
    guests = [guest(1, idle=9000, pinned=True), guest(2, idle=0, running=False)]
    seating = seat(guests, most=1, now=NOW)
    assert (names(seating.sleep), names(seating.wait)) == (set(), {2})


def test_a_small_one_runs_where_a_big_one_has_to_wait() -> None:
    big, small = guest(1, idle=1, memory=8, running=False), guest(2, idle=2, running=False)
    assert names(seat([big, small], most=4, now=NOW).wait) == {1}


many = st.lists(
    st.builds(
        guest,
        st.integers(1, 1000),
        idle=st.floats(0, 1e6),
        memory=st.integers(0, 5),
        running=st.booleans(),
        pinned=st.booleans(),
    ),
    unique_by=lambda one: one.tenant,
)


@given(many, st.integers(0, 20))
def test_what_is_seated_fits_unless_it_cannot_be_put_to_sleep(
    guests: list[Guest], most: int
) -> None:
    seating = seat(guests, most=most, now=NOW)
    out = seating.sleep | seating.wait
    seated = [one for one in guests if one.tenant not in out]
    stays = [one for one in seated if one.running and (one.pinned or NOW - one.active_at < BUSY)]
    assert sum(one.memory for one in seated) <= max(most, sum(one.memory for one in stays))
    assert not seating.sleep & seating.wait
    assert seating.sleep <= {one.tenant for one in guests if one.running and not one.pinned}


@given(many, st.integers(0, 20))
def test_seating_again_changes_nothing(guests: list[Guest], most: int) -> None:
    """Who was put to sleep does not come back for want of somebody else: nothing flaps."""
    seating = seat(guests, most=most, now=NOW)
    left = [one for one in guests if one.tenant not in seating.sleep | seating.wait]
    assert seat(left, most=most, now=NOW) == Seating()
