"""How many requests one client may make.

Litestar's own limit rewrites the list of a client's requests of the last minute, as JSON and
under one lock for all clients, with every request: at thousands a minute that costs more than
the request. This is one number for each client (the "generic cell rate algorithm").
"""

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

MINUTE = 60.0
MANY = 10_000
"""Clients remembered before those that are as good as new are forgotten."""


class RateLimit:
    """A limit for each client address. A minute's worth may come at once, then it trickles."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute`: requests of one client; 0: no limit."""
        self._interval = MINUTE / per_minute if per_minute else 0.0
        self._clock = clock
        self._busy_until: dict[str, float] = {}

    def wait(self, address: str) -> float:
        """Count a request and return 0, or return the seconds until it may be tried again."""
        if not self._interval:
            return 0.0
        now, client = self._clock(), _client(address)
        until = max(self._busy_until.get(client, now), now) + self._interval
        if until - now > MINUTE:
            return until - now - MINUTE
        if len(self._busy_until) >= MANY:
            self._forget(now)
        self._busy_until[client] = until
        return 0.0

    def _forget(self, now: float) -> None:
        self._busy_until = {c: until for c, until in self._busy_until.items() if until > now}
        if len(self._busy_until) >= MANY:  # an attack from everywhere: start anew, stay small
            self._busy_until.clear()


def _client(address: str) -> str:
    """Return whom an address stands for: of IPv6 everybody has a whole /64."""
    try:
        known = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return known.packed[:8].hex()
    return str(getattr(known, "ipv4_mapped", None) or known)
