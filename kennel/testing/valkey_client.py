"""Connections of tenants and of an administrator, as plain as can be."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valkey import Valkey
from valkey.exceptions import ValkeyError

from kennel.domain import Env
from kennel.testing.valkey import ValkeyServer


@contextmanager
def opened(url: str, **more: Any) -> Iterator[Any]:
    """Open a client whose answers are as the server gave them."""
    plain = {"decode_responses": True, "lib_name": None, "lib_version": None}
    client: Any = Valkey.from_url(url, **plain, **more)
    client.response_callbacks.clear()
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()


@contextmanager
def admin(server: ValkeyServer, number: int = 0) -> Iterator[Any]:
    with opened(f"{server.url}?db={number}") as client:
        yield client


class Line:
    """One connection, on which anything can be said; an error is an answer too."""

    def __init__(self, client: Any) -> None:
        self._connection = client.connection_pool.get_connection("any")

    def say(self, *words: object) -> Any:
        """Send a command. Return the answer, or the error that is one, or that there is none."""
        try:
            self._connection.send_command(*words)
            return self._connection.read_response()
        except ValkeyError as error:
            return error

    def hear(self, seconds: float = 0.3) -> Any:
        """Return what comes in by itself, or None."""
        try:
            return self._connection.read_response() if self._connection.can_read(seconds) else None
        except ValkeyError as error:
            return error


@contextmanager
def line(url: str, *, patience: float = 2.0) -> Iterator[Line]:
    """Open a line. `patience`: seconds after which no answer is one too."""
    with opened(url, socket_timeout=patience) as client:
        yield Line(client)


def url_of(env: Env) -> str:
    return env["VALKEY_URL"].value


def number_in(env: Env) -> int:
    return int(url_of(env).rpartition("db=")[2])


def users(server: ValkeyServer) -> set[str]:
    with admin(server) as client:
        return set(client.execute_command("ACL", "USERS"))


def keys(server: ValkeyServer) -> dict[int, set[str]]:
    """Return the keys of all databases that have any."""
    found = {}
    with admin(server) as client:
        full = re.findall(r"^db(\d+):", client.execute_command("INFO", "keyspace"), re.MULTILINE)
    for number in map(int, full):
        with admin(server, number) as client:
            found[number] = set(client.execute_command("KEYS", "*"))
    return found
