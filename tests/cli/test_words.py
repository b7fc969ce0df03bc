"""Times as people say them."""

import pytest

from kennel.cli.words import age, duration, short


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "just now"),
        (1.9, "just now"),
        (2, "2 seconds ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86400 * 3, "3 days ago"),
    ],
)
def test_age(seconds: float, said: str) -> None:
    assert age(1000.0, 1000.0 + seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (185, "3 min 5 s"), (3720, "1 h 2 min")],
)
def test_duration(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("commit", "said"), [("1a2b3c4d5e6f", "1a2b3c4"), ("0" * 40, "-"), ("", "-"), ("0a", "0a")]
)
def test_short(commit: str, said: str) -> None:
    assert short(commit) == said
