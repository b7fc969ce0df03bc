"""Who does not answer is asked less and less."""

import pytest

from kennel.sweep.patience import Patience


def rounds_until_asked(patience: Patience) -> int:
    """Let somebody fail. Return after how many rounds he is asked again."""
    patience.failed(1)
    return next(number for number in range(1, 1000) if patience.is_due(1))


@pytest.mark.parametrize(
    ("every", "expected"),
    [(60.0, [1, 2, 4, 8, 16, 16]), (300.0, [1, 2, 4, 4]), (3600.0, [1, 1, 1])],
)
def test_the_longest_wait_is_a_quarter_of_an_hour(every: float, expected: list[int]) -> None:
    patience = Patience(every)
    assert [rounds_until_asked(patience) for _ in expected] == expected
    patience.worked(1)
    assert rounds_until_asked(patience) == 1


def test_who_is_not_there_any_more_is_forgotten() -> None:
    patience = Patience(60.0)
    for number in (1, 2):
        for _ in range(3):
            patience.failed(number)
    patience.keep([2])
    assert patience.is_due(1)
    assert not patience.is_due(2)
