"""How many requests may be held at a time."""

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kennel.domain import Tenant

FILES = 3
"""A request in here may take two open files; the rest of Kennel needs some, too."""


class Full(Exception):
    """No more requests are held for now."""


class Rooms:
    """Room for so many requests in all, and so many of one tenant."""

    def __init__(self, total: int, each: int) -> None:
        """`total` is lowered to what the limit of open files allows for."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.total = total if files == resource.RLIM_INFINITY else min(total, files // FILES)
        self.each = min(each, self.total * 3 // 4)
        self._taken: Counter[Tenant] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    @contextmanager
    def room(self, tenant: Tenant) -> Iterator[None]:
        """Take a room for as long as the context is open. Raises Full."""
        if self.taken >= self.total or self._taken[tenant] >= self.each:
            raise Full
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]
