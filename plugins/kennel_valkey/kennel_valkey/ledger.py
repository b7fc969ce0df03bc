"""The book of who has what, in a file of Kennel's state folder. It blocks: call it in a thread.

What is in it is there until somebody has seen it gone from the server: a tenant is entered before
the first thing is made for it and struck out after the last is away, so that whatever a crash
leaves half done is known of.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import msgspec

from kennel.domain import Tenant
from kennel.errors import Rejected, Unavailable
from kennel_valkey import durable


@dataclass(frozen=True, slots=True)
class Entry:
    """What a tenant was given. `place`: the database's number, or the unit's name.

    `leaving`: it is being taken away; what is left of it belongs to nobody.
    """

    place: int | str
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Book:
    """All that was given. `owner`: whose book it is, at random; `serial`: counts its changes."""

    owner: str
    serial: int = 0
    entries: Mapping[Tenant, Entry] = field(default_factory=dict)

    def having(self, tenant: Tenant, entry: Entry) -> "Book":
        return replace(self, entries={**self.entries, tenant: entry})

    def without(self, tenant: Tenant) -> "Book":
        return replace(
            self, entries={one: entry for one, entry in self.entries.items() if one != tenant}
        )


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    place: int | str
    leaving: bool = False


class _Book(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    owner: str
    serial: int
    tenants: dict[str, _Entry]


VERSION = 1

Change: TypeAlias = Callable[[Book], Book]


class Ledger:
    """Keeps the book. Several processes may do so at the same time.

    `file`: where; its folder is made, for Kennel alone. Every method raises Unavailable where the
    file cannot be reached and Rejected where it cannot be understood.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def file(self) -> Path:
        return self._file

    def read(self) -> Book:
        """Return the book as it is now; a new one is begun where there is none."""
        with _said_of(self._file):
            if book := self._load():
                return book
        return self.change(lambda book: book)

    def change(self, change: Change) -> Book:
        """Write what `change` makes of the book, while nobody else does; return it.

        It is on the disk when this returns, whole, or not at all. Nothing is written where nothing
        was changed.
        """
        with _said_of(self._file), durable.alone(self._file):
            before = self._load()
            after = change(before or Book(secrets.token_hex(16)))
            if after != before:
                after = replace(after, serial=after.serial + 1)
                self._save(after)
            return after

    def _load(self) -> Book | None:
        try:
            text = self._file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            read = msgspec.json.decode(text, type=_Book)
            if read.version != VERSION:
                raise Rejected(
                    f"{self._file} was written by a newer kennel-valkey: install that one again"
                )
            return Book(
                read.owner,
                read.serial,
                {
                    Tenant.parse(name): Entry(entry.place, entry.leaving)
                    for name, entry in read.tenants.items()
                },
            )
        except (msgspec.MsgspecError, ValueError) as error:
            raise Rejected(
                f"{self._file} cannot be read: {error}. It says whose database is whose: bring it"
                " back from a backup"
            ) from error

    def _save(self, book: Book) -> None:
        text = msgspec.json.format(
            msgspec.json.encode(
                _Book(
                    version=VERSION,
                    owner=book.owner,
                    serial=book.serial,
                    tenants={
                        str(tenant): _Entry(entry.place, entry.leaving)
                        for tenant, entry in sorted(book.entries.items())
                    },
                )
            )
        )
        durable.write(self._file, text)


@contextmanager
def _said_of(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"valkey: {file}: {error.strerror}") from error
