"""What a record says, and whose it is. Pure.

The mark is the comment, which every plan of Cloudflare's has (100 characters on the free one).
Source: https://developers.cloudflare.com/api, DNS records.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

MARK = "kennel:v1"
COMMENT = f"{MARK} published by Kennel, which takes it away again"
ADDRESSES = frozenset({"A", "AAAA", "CNAME"})
"""The types that say where a host is: of a name there is a CNAME, or the others."""


class Record(msgspec.Struct, frozen=True):
    """A record as the API tells it. What Kennel has no use for is passed over."""

    id: str
    type: str
    name: str
    content: str = ""
    proxied: bool = False
    ttl: int = 1
    comment: str | None = None

    @property
    def is_ours(self) -> bool:
        words = (self.comment or "").split()
        return bool(words) and words[0] == MARK

    @property
    def is_address(self) -> bool:
        return self.type in ADDRESSES


def wanted(host: str, target: str, *, proxied: bool, ttl: int) -> dict[str, Any]:
    """Return what a record has to say so that a host is found at an address or a name."""
    return {
        "type": type_of(target),
        "name": host,
        "content": target,
        "proxied": proxied,
        "ttl": 1 if proxied else ttl,  # Cloudflare tells no other of what it stands before
        "comment": COMMENT,
    }


def type_of(target: str) -> str:
    """Return the type of the record that leads to a target."""
    try:
        return "A" if ipaddress.ip_address(target).version == 4 else "AAAA"  # noqa: PLR2004
    except ValueError:
        return "CNAME"


def says(record: Record, wanted: dict[str, Any]) -> bool:
    """Return whether a record says what it has to."""
    return all(getattr(record, key) == value for key, value in wanted.items() if key != "comment")


def foreign(records: Iterable[Record]) -> Sequence[Record]:
    """Return those that say where a host is and are not Kennel's."""
    return [one for one in records if one.is_address and not one.is_ours]


def ours(records: Iterable[Record]) -> Sequence[Record]:
    return [one for one in records if one.is_address and one.is_ours]
