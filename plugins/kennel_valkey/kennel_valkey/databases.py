"""The provisioner that gives each tenant one database of a server, by its number."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeAlias
from weakref import WeakValueDictionary

from kennel.domain import Env, Secret, Tenant
from kennel.errors import Rejected, Unavailable
from kennel.plugin import Provisioner, Resource, in_thread
from kennel_valkey import access
from kennel_valkey.address import Account, Address
from kennel_valkey.key import Key, digest
from kennel_valkey.ledger import Book, Change, Entry, Ledger
from kennel_valkey.options import DatabaseOptions, read_options
from kennel_valkey.server import MARK, Mark, Seen, Server

Scripts: TypeAlias = Literal["auto", "always", "never"]

FULL = (
    "valkey: all {databases} databases of the server are given away or in use. Set a larger"
    " `databases` in valkey.conf (it costs next to nothing) and start the server again, or remove"
    " refs that nobody needs"
)


class _NoNumber(Exception):
    """Every number is somebody's."""


class DatabaseProvisioner(Provisioner):
    """Gives each tenant a database of its own, and a user that reaches no other.

    The book says whose number is whose; the server's mark says that it is the server of this book.
    Where there is no such server, nothing is taken over, made or removed. `address`: where
    tenants connect. `reserved`: numbers that are others'.
    """

    name: ClassVar[str] = "valkey"
    variables: ClassVar[frozenset[str]] = access.VARIABLES

    def __init__(
        self,
        server: Server,
        address: Address,
        ledger: Ledger,
        key: Key,
        *,
        reserved: Collection[int] = (),
        scripts: Scripts = "auto",
    ) -> None:
        self._server = server
        self._address = address
        self._ledger = ledger
        self._key = key
        self._reserved = frozenset({0, *reserved})
        self._scripts = scripts
        self._granted: dict[Tenant, Any] = {}
        self._locks: WeakValueDictionary[Tenant, asyncio.Lock] = WeakValueDictionary()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.close()

    async def check(self) -> None:
        """Raise also for what lets tenants reach each other though Kennel does its part."""
        seen, _ = await self._look(["default"])
        if _is_open(seen.users.get("default")):
            raise Rejected(
                "valkey: the server's default user needs no password, so that every service can"
                " read and change everything: set `user default off` in valkey.conf, and give"
                " Kennel a user of its own, as the README of kennel-valkey shows"
            )
        abilities = await self._server.abilities(seen)
        if seen.keys.get(0) and not abilities.confines:
            raise Rejected(
                f"valkey: database 0 holds {seen.keys[0]} keys, and every tenant of this server"
                f" ({seen.version}) can read them: see whose service leaves the database out that"
                " its URL names, then `FLUSHDB` it. From Valkey 9.1 on nobody gets there"
            )

    async def observe(self) -> set[Tenant]:
        _, book = await self._look()
        return set(book.entries)

    async def lacking(self, tenants: Collection[Tenant]) -> set[Tenant]:
        """Ask once, for all users: those that a restart took are not there, or not as granted."""
        asked = sorted(tenants)
        seen, book = await self._look([access.user(tenant) for tenant in asked])
        return {tenant for tenant in asked if not self._is_whole(tenant, seen, book)}

    def _is_whole(self, tenant: Tenant, seen: Seen, book: Book) -> bool:
        entry, user = book.entries.get(tenant), seen.users.get(access.user(tenant))
        if entry is None or entry.leaving or user is None or seen.mark is None:
            return False
        return bool(self._granted.get(tenant) == user)

    async def resources(self) -> Sequence[Resource]:
        seen, book = await self._look()
        return [
            Resource(
                tenant=tenant,
                name=f"database {entry.place}",
                detail=f"{seen.keys.get(_number(entry), 0)} keys",
            )
            for tenant, entry in sorted(book.entries.items())
        ]

    def check_options(self, options: Mapping[str, object]) -> None:
        read_options(options, DatabaseOptions)

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        read = read_options(options, DatabaseOptions)
        password = await in_thread(self._key.password, tenant, purpose="database")
        async with self._alone(tenant):
            user = access.user(tenant)
            seen, book = await self._look([user])
            entry = book.entries.get(tenant)
            if entry and entry.leaving:
                await self._clear(tenant, entry, seen)
                seen, book = await self._look([user])
                entry = None
            if seen.mark is None:
                await self._claim(seen, book)
            if entry is None:
                entry = await self._allocate(tenant, seen)
            number = await self._reachable(_number(entry), tenant, seen)
            await self._grant(tenant, number, password, seen)
        account = Account(user=user, password=password, number=number)
        url = self._address.url(account, read.url)
        return {
            "VALKEY_URL": url,
            "REDIS_URL": url,
            "VALKEY_CHANNELS": Secret(access.channels(tenant)),
        }

    async def remove(self, tenant: Tenant) -> None:
        async with self._alone(tenant):
            seen, book = await self._look()
            entry = book.entries.get(tenant)
            if entry is None:
                return
            self._granted.pop(tenant, None)
            leaving = Entry(entry.place, leaving=True)
            await self._change(lambda book: book.having(tenant, leaving), seen)
            await self._clear(tenant, leaving, seen)

    def _alone(self, tenant: Tenant) -> asyncio.Lock:
        return self._locks.setdefault(tenant, asyncio.Lock())

    async def _look(self, users: Sequence[str] = ()) -> tuple[Seen, Book]:
        """Return what is on the server and in the book, if they belong together.

        The server is asked first: what it has heard of is in the book by then.
        """
        seen = await self._server.look(users)
        book = await in_thread(self._ledger.read)
        if seen.mark and seen.mark.owner != book.owner:
            raise Rejected(
                f"valkey: the server is another Kennel's, or that of another state folder: none"
                f" of it is in {self._ledger.file}. Bring that file back from a backup, or give"
                f" Kennel another server; if nothing on this one is wanted, `FLUSHALL` and"
                f" `FUNCTION DELETE {MARK}` make it new"
            )
        if seen.mark and seen.mark.serial > book.serial:
            raise Rejected(
                f"valkey: {self._ledger.file} is older than the server, which has seen"
                f" {seen.mark.serial - book.serial} more changes of it: databases may be others'"
                " by now. Bring back the newest copy; if there is none, `FUNCTION DELETE"
                f" {MARK}` and `FLUSHALL` give everybody an empty database"
            )
        return seen, book

    async def _claim(self, seen: Seen, book: Book) -> None:
        """Mark the server as this book's, if no data of somebody else's would become a tenant's."""
        numbers = {_number(entry): tenant for tenant, entry in book.entries.items()}
        if foreign := sorted(seen.keys.keys() & numbers.keys()):
            raise _foreign(foreign[0], numbers[foreign[0]])
        if not await self._server.claim(Mark(book.owner, book.serial)):
            await self._look()  # who was quicker is us, or is said to be somebody else

    async def _allocate(self, tenant: Tenant, seen: Seen) -> Entry:
        """Give a number to a tenant that has none."""
        user = access.user(tenant)
        if user in seen.users:
            raise Rejected(
                f"valkey: there is a user {user} that Kennel did not make: see what it is for,"
                f" then `ACL DELUSER {user}`"
            )
        databases = await self._databases(seen)
        taken = self._reserved | seen.keys.keys()

        def give(book: Book) -> Book:
            if tenant in book.entries:
                return book  # another process was quicker
            used = taken | {_number(entry) for entry in book.entries.values()}
            free = next((number for number in range(databases) if number not in used), None)
            if free is None:
                raise _NoNumber
            return book.having(tenant, Entry(free))

        try:
            book = await self._change(give, seen)
        except _NoNumber:
            raise Rejected(FULL.format(databases=databases)) from None
        entry = book.entries[tenant]
        if entry.leaving:
            raise Unavailable(f"valkey: {tenant} is being removed by another process")
        return entry

    async def _databases(self, seen: Seen) -> int:
        return seen.databases or await self._server.databases()

    async def _reachable(self, number: int, tenant: Tenant, seen: Seen) -> int:
        """Return the number if the server has it: it may have been given fewer since."""
        if seen.databases is not None and number >= seen.databases:
            raise Rejected(
                f"valkey: {tenant} has database {number}, and the server has only"
                f" {seen.databases} now: set `databases` in valkey.conf to {number + 1} or more"
            )
        return number

    async def _grant(self, tenant: Tenant, number: int, password: Secret, seen: Seen) -> None:
        abilities = await self._server.abilities(seen)
        scripts = self._scripts == "always" or (
            self._scripts == "auto" and abilities.separates_scripts
        )
        rules = access.rules(tenant, number, digest(password), abilities, scripts=scripts)
        self._granted[tenant] = await self._server.grant(access.user(tenant), rules)

    async def _clear(self, tenant: Tenant, entry: Entry, seen: Seen) -> None:
        """Take away what a leaving tenant has, and free its number when nothing is left."""
        number = _number(entry)
        if seen.mark is None and seen.keys.get(number):
            raise _foreign(number, tenant)
        await self._server.dismiss(access.user(tenant))
        if seen.databases is None or number < seen.databases:
            await self._server.flush(number)
        await self._change(lambda book: book.without(tenant), seen)

    async def _change(self, change: Change, seen: Seen) -> Book:
        book = await in_thread(self._ledger.change, change)
        if seen.mark is not None or book.entries:
            await self._server.note(Mark(book.owner, book.serial))
        return book


def _number(entry: Entry) -> int:
    return int(entry.place)


def _foreign(number: int, tenant: Tenant) -> Rejected:
    return Rejected(
        f"valkey: the server does not bear Kennel's mark, and there are keys in database {number},"
        f" which is {tenant}'s in Kennel's book: it is not the server it was. Give Kennel that"
        f" one, or its data; if nothing on this one is wanted, `FLUSHALL` makes it new"
    )


def _is_open(user: Any) -> bool:
    """Return whether a user, as the server describes it, gets in without a password."""
    described = dict(zip(user[::2], user[1::2], strict=True)) if user else {}
    return {"on", "nopass"} <= set(described.get("flags", ()))
