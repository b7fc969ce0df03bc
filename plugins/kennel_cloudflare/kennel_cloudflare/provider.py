"""Records of custom domains in zones at Cloudflare."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec

from kennel.errors import Rejected
from kennel.plugin import DnsProvider
from kennel_cloudflare.api import EXISTS, MISSING, Api, Refusal, explained
from kennel_cloudflare.config import CloudflareConfig
from kennel_cloudflare.records import Record, foreign, ours, says, type_of, wanted
from kennel_cloudflare.zones import zone_of

EDIT = "#dns_records:edit"


class _Zone(msgspec.Struct):
    """`permissions`: what the token may do with it, where the API says so."""

    id: str
    name: str
    permissions: list[str] | None = None


class _Token(msgspec.Struct):
    status: str


class _Gone(msgspec.Struct):
    """What is left of a record that was deleted."""


class CloudflareProvider(DnsProvider):
    """Publishes hosts as records whose comment says that they are Kennel's."""

    name = "cloudflare"

    def __init__(self, config: CloudflareConfig, api: Api) -> None:
        self._config = config
        self._api = api
        self._ids = dict(config.zone_ids)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._api.close()

    def covers(self, host: str) -> bool:
        return zone_of(host, self._config.zones) is not None

    async def check(self) -> None:
        token = await self._one("GET", "/user/tokens/verify", _Token)
        if token.status != "active":
            raise Rejected(f"cloudflare: the token is {token.status}: make another one")
        for zone in self._config.zones:
            if zone not in self._config.zone_ids:
                self._ids[zone] = await self._looked_up(zone)
            await self._records(zone, {"per_page": "1", "type": "NS"})

    async def observe(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for zone in self._config.zones:
            for record in ours(await self._records(zone, {"comment.startswith": "kennel:"})):
                found[record.name] = record.content
        return found

    async def ensure(self, host: str, target: str) -> None:
        zone = self._zone(host)
        record = wanted(host, target, proxied=self._config.proxied, ttl=self._config.ttl)
        there = await self._of(zone, host)
        if strangers := foreign(there):
            raise Rejected(_is_taken(host, strangers[0]))
        mine = ours(there)
        for extra in mine[1:]:
            await self._delete(zone, extra)
        if not mine:
            await self._write("POST", await self._path(zone), record)
        elif not says(mine[0], record):
            await self._write("PUT", f"{await self._path(zone)}/{mine[0].id}", record)

    async def remove(self, host: str) -> None:
        zone = self._zone(host)
        for record in ours(await self._of(zone, host)):
            await self._delete(zone, record)

    # Asking.

    def _zone(self, host: str) -> str:
        zone = zone_of(host, self._config.zones)
        if zone is None:
            raise Rejected(
                f"cloudflare: {host} is in none of the zones {', '.join(self._config.zones)}"
            )
        return zone

    async def _path(self, zone: str) -> str:
        if zone not in self._ids:
            self._ids[zone] = await self._looked_up(zone)
        return f"/zones/{self._ids[zone]}/dns_records"

    async def _looked_up(self, zone: str) -> str:
        """Return the id of a zone. Raises Rejected if the token may not change its records."""
        try:
            found = [one async for one in self._api.every("/zones", _Zone, {"name": zone})]
        except Refusal as refusal:
            raise explained(refusal, zone) from refusal
        if not found:
            raise Rejected(
                f"cloudflare: the token sees no zone {zone}: give it Zone → Zone → Read and Zone →"
                " DNS → Edit for it, or take it out of [plugins.cloudflare] zones"
            )
        may = found[0].permissions
        if may is not None and EDIT not in may:
            raise Rejected(
                f"cloudflare: the token may not change records of {zone}: give it the right Zone →"
                " DNS → Edit"
            )
        return found[0].id

    async def _records(self, zone: str, query: Mapping[str, str]) -> Sequence[Record]:
        path = await self._path(zone)
        try:
            return [one async for one in self._api.every(path, Record, query)]
        except Refusal as refusal:
            raise explained(refusal, zone) from refusal

    async def _of(self, zone: str, host: str) -> Sequence[Record]:
        return await self._records(zone, {"name.exact": host})

    async def _write(self, method: str, path: str, record: dict[str, Any]) -> None:
        try:
            await self._api.one(method, path, Record, record)
        except Refusal as refusal:
            if refusal.code in EXISTS:
                raise Rejected(
                    f"cloudflare: {record['name']} has a record already that goes with no"
                    f" {type_of(record['content'])} ({refusal}): remove it, or do not ask for it"
                ) from refusal
            raise explained(refusal, record["name"]) from refusal

    async def _delete(self, zone: str, record: Record) -> None:
        try:
            await self._api.one("DELETE", f"{await self._path(zone)}/{record.id}", _Gone)
        except Refusal as refusal:
            if refusal.code not in MISSING:
                raise explained(refusal, record.name) from refusal

    async def _one(self, method: str, path: str, shape: type[_Token]) -> _Token:
        try:
            return await self._api.one(method, path, shape)
        except Refusal as refusal:
            raise explained(refusal, "the token") from refusal


def _is_taken(host: str, record: Record) -> str:
    return (
        f"cloudflare: {host} has a record that is not Kennel's ({record.type} {record.content}):"
        " remove it at Cloudflare if the host is to be this project's"
    )
