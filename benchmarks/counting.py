"""Counts what Kennel asks of others, by listening in on the real things."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import event

from kennel.builtin.caddy import CaddyRouter
from kennel.builtin.systemd import SystemdSupervisor
from kennel.daemon import Parts

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")
KINDS = ("dbus_calls", "caddy_reads", "caddy_writes", "store_reads", "store_writes", "file_writes")


class Counting:
    """Counts while it is `on`. What Python does to files, it tells; it cannot be told to stop."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self._folder = str(folder)
        self._on = False
        self.counts: Counter[str] = Counter()
        self._listen_to_dbus(parts)
        self._listen_to_caddy(parts)
        event.listen(parts.store._engine, "before_cursor_execute", self._statement)
        sys.addaudithook(self._audit)

    def _listen_to_dbus(self, parts: Parts) -> None:
        supervisor = parts.providers.supervisor
        assert isinstance(supervisor, SystemdSupervisor)
        bus, call = supervisor._bus, supervisor._bus.call

        async def counted(member: str, signature: str = "", *body: object) -> Any:
            self._count("dbus_calls")
            return await call(member, signature, *body)

        bus.call = counted  # type: ignore[method-assign]

    def _listen_to_caddy(self, parts: Parts) -> None:
        router = parts.providers.router
        assert isinstance(router, CaddyRouter)

        async def heard(request: httpx.Request) -> None:
            self._count("caddy_reads" if request.method == "GET" else "caddy_writes")

        router._admin._client.event_hooks = {"request": [heard]}

    def _statement(self, _connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if not statement.startswith("BEGIN"):
            reads = statement.lstrip().upper().startswith("SELECT")
            self._count("store_reads" if reads else "store_writes")

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if not self._on or (name != "open" and name not in CHANGES):
            return
        if name == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        if str(arguments[0]).startswith(self._folder):
            self._count("file_writes")

    def _count(self, kind: str) -> None:
        if self._on:
            self.counts[kind] += 1

    @contextmanager
    def on(self) -> Iterator[None]:
        """Count, from nothing."""
        self.counts.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def each(self, times: int) -> dict[str, float]:
        """Return how many of each kind there were in one of so many repetitions."""
        return {kind: self.counts[kind] / times for kind in KINDS}
