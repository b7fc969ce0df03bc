"""How often something that keeps going wrong is tried again."""

import time
from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
FIRST = 1.0
LONGEST = 30.0
FORGIVEN_AFTER = 300.0


class Backoff(Generic[K]):
    """Remembers tries. The first is free, the next ones wait 1, 2, 4 … 30 seconds."""

    def __init__(self) -> None:
        self._tries: dict[K, tuple[int, float]] = {}

    def note(self, key: K) -> None:
        """Note that something is being tried."""
        count, last = self._tries.get(key, (0, 0.0))
        now = time.monotonic()
        self._tries[key] = (count + 1 if now - last < FORGIVEN_AFTER else 1, now)

    def wait(self, key: K) -> float:
        """Return the seconds until the next try is due: 0 for at once."""
        if key not in self._tries:
            return 0.0
        count, last = self._tries[key]
        pause = min(FIRST * 2.0 ** (count - 1), LONGEST)
        return max(0.0, last + pause - time.monotonic())

    def keep(self, keys: Collection[K]) -> None:
        """Forget the tries of everything else."""
        self._tries = {key: tries for key, tries in self._tries.items() if key in keys}
