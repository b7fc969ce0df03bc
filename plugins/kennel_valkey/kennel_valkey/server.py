"""Kennel's own connections to the server, and the mark it leaves there.

The mark is a library of functions: the one thing that a server keeps with its data, that no
eviction takes, that is in none of its databases, and that tenants can neither see nor change.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  the library's own
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
    ValkeyError,
)

from kennel.domain import Secret
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel_valkey.access import Abilities

PATIENCE = 5.0
"""Seconds that the server may take to answer: it is one thread, and some commands are slow."""

CONNECTIONS = 8
MARK = "kennel_mark"
OWNER = re.compile(r"owner ([0-9a-f]{32}) serial (\d+)")
PROBE = "kennel-probe"
"""The user that tells what rules there are; no tenant's is called so, and it may do nothing."""

PROBE_SCRIPT = "getmetatable('').__kennel = nil return 1"
"""Changes nothing, and is refused where scripts cannot change what others stand on.

Where it is not (Valkey before 8.0.6, see CVE-2025-46818), one tenant's script can have its code
run by those of all others.
"""

KEYSPACE = re.compile(r"^db(\d+):keys=(\d+)", re.MULTILINE)
MOST = 2**20
"""More databases than anybody has."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose the server is, and how many changes of the owner's book it has heard of."""

    owner: str
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at the server shows.

    `run`: another one after each of its starts. `mark`: None: there is none. `databases`: how many
    there are; None: it does not tell. `keys`: how many, in every database that has any. `users`:
    those that were asked for, and are there, as the server describes them.
    """

    run: str
    version: str
    mark: Mark | None
    databases: int | None
    keys: Mapping[int, int]
    users: Mapping[str, Any]


class Server:
    """The server, as one who may do everything.

    `url`: secret, for it holds a password. Every method raises Unavailable where there is no
    answer, and Rejected with what to change where the answer is no.
    """

    def __init__(self, url: Secret) -> None:
        self._url = url
        self._pool: BlockingConnectionPool | None = None
        self._abilities: tuple[str, Abilities] | None = None

    async def close(self) -> None:
        if self._pool:
            await self._pool.disconnect()
            self._pool = None

    async def look(self, users: Sequence[str] = ()) -> Seen:
        """Return what there is, with one question.

        `users`: whom to ask for.
        """
        async with self._asking() as client:
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("INFO", "server", "keyspace")
            pipe.execute_command("CONFIG", "GET", "databases")
            pipe.execute_command("FUNCTION", "LIST", "LIBRARYNAME", MARK, "WITHCODE")
            for user in users:
                pipe.execute_command("ACL", "GETUSER", user)
            info, databases, functions, *found = await pipe.execute(raise_on_error=False)
        for answer in (info, functions, *found):
            if isinstance(answer, Exception):
                with _kennels_words():
                    raise answer
        return Seen(
            run=_field(info, "run_id"),
            version=_field(info, "valkey_version") or _field(info, "redis_version"),
            mark=_mark(functions),
            databases=_databases(databases),
            keys={int(number): int(keys) for number, keys in KEYSPACE.findall(info)},
            users={user: one for user, one in zip(users, found, strict=True) if one},
        )

    async def memory(self) -> int:
        """Return the bytes that the server uses."""
        async with self._asking() as client:
            return int(_field(await client.execute_command("INFO", "memory"), "used_memory"))

    async def claim(self, mark: Mark) -> bool:
        """Leave the mark, unless there is one. Return whether it is this one now."""
        async with self._asking() as client:
            try:
                await client.execute_command("FUNCTION", "LOAD", _library(mark))
            except ResponseError as error:
                if "already exists" not in str(error):
                    raise
                return False
            return True

    async def note(self, mark: Mark) -> None:
        """Let the mark say that the owner's book has changed."""
        async with self._asking() as client:
            await client.execute_command("FUNCTION", "LOAD", "REPLACE", _library(mark))

    async def abilities(self, seen: Seen) -> Abilities:
        """Return what this server can hold users to. It is tried once for each of its starts."""
        if self._abilities and self._abilities[0] == seen.run:
            return self._abilities[1]
        async with self._asking() as client:
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("COMMAND LIST")
            pipe.execute_command("ACL", "SETUSER", PROBE, "reset", "off", "db=1")
            pipe.execute_command("ACL", "DELUSER", PROBE)
            pipe.execute_command("EVAL", PROBE_SCRIPT, 0)
            commands, confined, _, changed = await pipe.execute(raise_on_error=False)
        if isinstance(commands, Exception):
            with _kennels_words():
                raise commands
        found = Abilities(
            commands=frozenset(commands),
            confines=not isinstance(confined, Exception),
            separates_scripts=isinstance(changed, ResponseError) and "readonly" in str(changed),
        )
        self._abilities = (seen.run, found)
        return found

    async def databases(self) -> int:
        """Return how many databases there are, found by going to them: 16 if it does not tell."""
        async with self._asking(number=0) as client:
            low, high = 1, 2
            while high < MOST and await _is_there(client, high - 1):
                low, high = high, high * 2
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if await _is_there(client, middle - 1) else (low, middle)
            return low

    async def grant(self, user: str, rules: Sequence[str]) -> Any:
        """Give a user these rules. Return how the server describes it now."""
        async with self._asking() as client:
            pipe = client.pipeline(transaction=True)
            pipe.execute_command("ACL", "SETUSER", user, *rules)
            pipe.execute_command("ACL", "GETUSER", user)
            return (await pipe.execute())[1]

    async def dismiss(self, user: str) -> None:
        """Take a user away, and end all its connections. There may be none."""
        async with self._asking() as client:
            await client.execute_command("ACL", "DELUSER", user)

    async def flush(self, number: int) -> None:
        """Empty one database. The server frees its memory when it has the time."""
        async with self._asking(number=number) as client:
            pipe = client.pipeline(transaction=True)
            pipe.execute_command("FLUSHDB", "ASYNC")
            pipe.execute_command("DBSIZE")
            left = (await pipe.execute())[1]
            if left:
                raise Unavailable(f"valkey: database {number} has {left} keys after it was flushed")

    @asynccontextmanager
    async def _asking(self, number: int | None = None) -> AsyncIterator[Any]:
        """Give a client, and say in Kennel's words what goes wrong with it.

        `number`: of a database; the client has a connection of its own then, which goes to no
        other before it is closed.
        """
        with _kennels_words():
            if number is None:
                if self._pool is None:
                    self._pool = _pool(self._url, CONNECTIONS)
                yield _raw(Valkey(connection_pool=self._pool))
                return
            pool = _pool(self._url, 1, db=number)
            try:
                yield _raw(Valkey(connection_pool=pool))
            finally:
                await pool.disconnect()


def _pool(url: Secret, connections: int, **more: Any) -> BlockingConnectionPool:
    pool = BlockingConnectionPool.from_url(
        url.value,
        max_connections=connections,
        timeout=PATIENCE * 4,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        decode_responses=True,
        protocol=2,
        # a connection that was idle may have been closed; to ask again does no harm
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[ConnectionError],
    )
    pool.connection_kwargs.update({"db": 0, **more})
    return pool


def _raw(client: Valkey) -> Any:
    """Let answers be as they come: the library would make of some what it takes them for."""
    client.response_callbacks.clear()
    return client


async def _is_there(client: Any, number: int) -> bool:
    try:
        await client.execute_command("SELECT", number)
    except ResponseError as error:
        if "out of range" in str(error):
            return False
        raise
    return True


def _field(info: str, name: str) -> str:
    found = re.search(rf"^{name}:(\S*)", info, re.MULTILINE)
    return found[1] if found else ""


def _mark(functions: Sequence[Sequence[Any]]) -> Mark | None:
    for library in functions:
        described = dict(zip(library[::2], library[1::2], strict=True))
        if found := OWNER.search(described.get("library_code", "")):
            return Mark(found[1], int(found[2]))
        raise Rejected(
            f"valkey: the server's function library {MARK} is not one of Kennel's:"
            f" `FUNCTION DELETE {MARK}`, or give Kennel another server"
        )
    return None


def _library(mark: Mark) -> str:
    says = f"owner {mark.owner} serial {mark.serial}"
    return (
        f"#!lua name={MARK}\n"
        f"-- This server's users kennel_... and their databases are a Kennel's: {says}\n"
        f"redis.register_function('{MARK}', function() return '{mark.owner}' end)\n"
    )


def _databases(answer: Any) -> int | None:
    """Read the answer of CONFIG GET; None where that is not allowed, or unknown."""
    if isinstance(answer, NoPermissionError | ResponseError) or not answer:
        return None
    return int(answer[1])


@contextmanager
def _kennels_words() -> Iterator[None]:
    """Raise Unavailable and Rejected for what the library raises."""
    try:
        yield
    except (ValkeyError, OSError) as error:
        # what the server says to a new connection is wrapped
        told = error.__cause__ if isinstance(error.__cause__, ValkeyError) else error
        raise _in_kennels_words(told) from error


def _in_kennels_words(error: ValkeyError | OSError) -> ProviderError:
    if isinstance(error, AuthenticationError | NoPermissionError | ReadOnlyError):
        return Rejected(f"valkey: {_refused(error)}")
    if not isinstance(error, ResponseError):
        return Unavailable(f"valkey: the server does not answer: {error}")
    if str(error).startswith("BUSY"):
        return Unavailable(
            "valkey: a script has kept the server busy for seconds: `SCRIPT KILL` ends it"
        )
    return Rejected(
        f"valkey: the server says no: {error}. Kennel needs Valkey 7.2 or Redis 7, or newer"
    )


def _refused(error: ValkeyError) -> str:
    if isinstance(error, ReadOnlyError):
        return "the server is a replica: give Kennel the one that it follows"
    if isinstance(error, NoPermissionError):
        return (
            f"Kennel's user may not do enough ({error}): `ACL SETUSER` it with +@all ~* &*, as the"
            " README of kennel-valkey shows"
        )
    return (
        "the server does not take Kennel's user and password: set url, or user and password, in"
        " [plugins.valkey] to one who may do everything"
    )
