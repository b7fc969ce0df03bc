"""How often somebody who does not answer is asked again."""

from collections.abc import Collection

LONGEST = 900.0
"""Seconds until somebody is asked again, at most."""


class Patience:
    """Counts rounds. Who failed again and again sits 0, 1, 3, 7 … of them out.

    `every`: seconds between two rounds.
    """

    def __init__(self, every: float) -> None:
        self._most = int(LONGEST / every)
        self._failures: dict[int, int] = {}
        self._out: dict[int, int] = {}

    def is_due(self, number: int) -> bool:
        """Return whether somebody is asked in this round. To be called once in each."""
        left = self._out.get(number, 0)
        if left <= 0:
            return True
        self._out[number] = left - 1
        return False

    def failed(self, number: int) -> None:
        """Note that there was no answer."""
        count = self._failures.get(number, 0)
        self._failures[number] = count + 1
        self._out[number] = min(2**count - 1, self._most)

    def worked(self, number: int) -> None:
        """Note that there was one."""
        self._failures.pop(number, None)
        self._out.pop(number, None)

    def keep(self, numbers: Collection[int]) -> None:
        """Forget everybody else."""
        for number in self._failures.keys() - set(numbers):
            self.worked(number)
