"""How many requests one client may make."""

import pytest

from kennel.web import limits
from kennel.web.limits import RateLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def granted(limit: RateLimit, address: str, tries: int) -> int:
    return sum(limit.wait(address) == 0.0 for _ in range(tries))


def test_a_minutes_worth_may_come_at_once_and_no_more() -> None:
    assert granted(RateLimit(10, Clock()), "192.0.2.1", 50) == 10


def test_then_it_trickles() -> None:
    clock = Clock()
    limit = RateLimit(10, clock)
    granted(limit, "192.0.2.1", 10)
    assert limit.wait("192.0.2.1") == pytest.approx(6.0)
    clock.now += 6.0
    assert granted(limit, "192.0.2.1", 5) == 1
    clock.now += 60.0
    assert granted(limit, "192.0.2.1", 50) == 10


def test_refused_requests_do_not_count() -> None:
    clock = Clock()
    limit = RateLimit(10, clock)
    granted(limit, "192.0.2.1", 1000)
    clock.now += 6.0
    assert limit.wait("192.0.2.1") == 0.0


def test_clients_do_not_share_it() -> None:
    limit = RateLimit(10, Clock())
    assert [granted(limit, f"192.0.2.{i}", 20) for i in range(3)] == [10, 10, 10]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("somebody", "else", False),
    ],
)
def test_who_is_one_client(one: str, other: str, same: bool) -> None:
    limit = RateLimit(10, Clock())
    granted(limit, one, 10)
    assert granted(limit, other, 10) == (0 if same else 10)


def test_zero_is_no_limit() -> None:
    assert granted(RateLimit(0, Clock()), "192.0.2.1", 10_000) == 10_000


def test_remembers_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MANY", 100)
    clock = Clock()
    limit = RateLimit(10, clock)
    for i in range(5000):
        clock.now += 1.0
        limit.wait(f"198.51.{i // 256}.{i % 256}")
    assert len(limit._busy_until) <= 100
    clock.now += 100.0
    for i in range(500):  # all at once: nobody can be forgotten in order
        limit.wait(f"203.0.{i // 256}.{i % 256}")
    assert len(limit._busy_until) <= 100
