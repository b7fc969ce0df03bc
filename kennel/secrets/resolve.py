"""Looks up the secrets of a deployment, and says what is missing and where it was looked for.

    what its build declares -> what the operator grants today -> the sources -> the library

That nobody can tell is never taken for "it is not there": whatever a source raises goes on.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from kennel.domain import Declaration, Env, Reference, Secret, SecretSpec
from kennel.domain.record import Build, TenantRecord
from kennel.errors import Rejected, Unavailable
from kennel.plugin import SecretSource
from kennel.secrets.grants import Grants
from kennel.secrets.library import Library

log = structlog.get_logger(__name__)
LIMIT = 60.0
"""Seconds after which a source is taken to be out of reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where the secrets of a profile were found.

    `values`: by the name it is declared with. `places`: name → the source that had it. `asked`:
    name → every place it was looked for at. `barred`: nothing was looked up, for it is a fork's.
    """

    values: Env = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    barred: bool = False


class Resolver:
    """Looks up what builds declare, for as many tenants at a time as there are `places`."""

    def __init__(
        self,
        sources: Mapping[str, SecretSource],
        library: Library,
        grants: Callable[[str], Grants],
        places: asyncio.Semaphore,
    ) -> None:
        self._sources = sources
        self._library = library
        self._grants = grants
        self._places = places

    async def resolve(self, record: TenantRecord, build: Build) -> Env:
        """Return the secrets of a tenant as a build declares them.

        Raises Rejected that names all that is missing and where it was looked for, or what has to
        change before it can be told; Unavailable where it cannot be told now.
        """
        declared = declared_of(record, build)
        if not declared:
            return {}
        async with self._places:
            found = await self.look_up(record, build)
            project, profile = record.tenant.project, str(record.environment)
            done = await self._library.work_out(project, profile, declared, found.values)
        if done.missing:
            raise Rejected(_missing(record, done.missing, found))
        return done.env

    async def look_up(self, record: TenantRecord, build: Build) -> Found:
        """Return what the sources have of a tenant's secrets. Raises Rejected, Unavailable."""
        declared = declared_of(record, build)
        project, profile = record.tenant.project, str(record.environment)
        grants = self._grants(project)
        if not ((record.trusted and build.trusted) or grants.forks):
            log.info("a fork gets no secrets", tenant=str(record.tenant))
            return Found(barred=True)
        search = _Search(project, profile, grants, self._sources)
        return await search.run({n: one for n, one in declared.items() if one.is_looked_up})


def declared_of(record: TenantRecord, build: Build) -> Mapping[str, Declaration]:
    """Return what a build declares for the environment of a tenant."""
    return (build.secrets or SecretSpec()).of(str(record.environment))


def scopes_of(build: Build) -> Mapping[str, tuple[str, ...]]:
    """Return which services of a build get some of its secrets only."""
    return (build.secrets or SecretSpec()).scopes


class _Search:
    """Asks source after source, each for all that is still to be found."""

    def __init__(
        self,
        project: str,
        profile: str,
        grants: Grants,
        sources: Mapping[str, SecretSource],
    ) -> None:
        self._project = project
        self._profile = profile
        self._grants = grants
        self._sources = sources
        self._values: dict[str, Secret] = {}
        self._where: dict[str, str] = {}
        self._asked: dict[str, list[str]] = {}

    async def run(self, declared: Mapping[str, Declaration]) -> Found:
        keys = {name: self._key(name, one) for name, one in declared.items()}
        for source, names in self._rounds(declared):
            left = [name for name in names if name not in self._values]
            if left:
                await self._ask(self._sources[source], {name: keys[name] for name in left})
        return Found(values=self._values, places=self._where, asked=self._asked)

    def _key(self, name: str, one: Declaration) -> str | Reference:
        """Return what a secret is called where it is kept. Raises Rejected if it may not be read.

        What was shared when it was built may not be shared any more.
        """
        if one.ref is None:
            return name
        if own := self._grants.own_name(one.ref, self._profile):
            return own
        if not self._grants.shares(one.ref.item):
            raise Rejected(
                f"the secret {name} refers to {one.ref.item}, which is not shared with"
                f" {self._project}: an operator shares it with shared_secrets in"
                f" [projects.{self._project}]"
            )
        return one.ref

    def _rounds(self, declared: Mapping[str, Declaration]) -> Iterator[tuple[str, list[str]]]:
        """Yield who is asked for what, one source at a time: everyone's first one first."""
        orders = {name: one.sources or self._grants.sources for name, one in declared.items()}
        for place in range(max(map(len, orders.values()), default=0)):
            asked: dict[str, list[str]] = {}
            for name, order in orders.items():
                if place < len(order):
                    asked.setdefault(order[place], []).append(name)
            for source in sorted(asked):
                if source not in self._sources:
                    raise Rejected(
                        f"the secret {asked[source][0]} is kept in {source!r}, which is not on"
                        f" here: an operator turns it on with [plugins.{source}] in kennel.toml"
                    )
                yield source, asked[source]

    async def _ask(self, source: SecretSource, keys: Mapping[str, str | Reference]) -> None:
        own = {key for key in keys.values() if isinstance(key, str)}
        refs = {key for key in keys.values() if isinstance(key, Reference)}
        named: Mapping[str, Secret] = {}
        referred: Mapping[Reference, Secret] = {}
        try:
            async with asyncio.timeout(LIMIT):
                if own:
                    named = await source.resolve(self._project, self._profile, own)
                if refs:
                    referred = await source.shared(self._project, self._profile, refs)
        except TimeoutError:
            raise Unavailable(f"{source.name}: it has not answered for {LIMIT:g} s") from None
        for name, key in keys.items():
            self._asked.setdefault(name, []).append(self._place(source, key))
            value = named.get(key) if isinstance(key, str) else referred.get(key)
            if value is not None:
                self._values[name] = value
                self._where[name] = source.name

    def _place(self, source: SecretSource, key: str | Reference) -> str:
        if isinstance(key, Reference):
            return f"{source.name} {key.item}, field {key.field}"
        return source.place(self._project, self._profile, key)


def _missing(record: TenantRecord, names: Sequence[str], found: Found) -> str:
    """Return what a developer is told of secrets that are required and not there."""
    profile, ref = record.environment, record.tenant
    if found.barred:
        return (
            f"secrets are required: {', '.join(names)}. Pull requests from forks get none; an"
            ' operator who trusts approvals that far sets secrets = "approved-forks" in'
            f" [projects.{ref.project}]"
        )
    lines = [f"  {name}: {_looked_for(name, found)}" for name in names]
    head = f"secrets are missing in the profile {profile}:"
    fix = (
        f"set each, such as with `secretspec set -P {profile} {names[0]}`, then"
        f" `kennel redeploy {ref.project} {ref.ref}`"
    )
    return "\n".join([head, *lines, fix])


def _looked_for(name: str, found: Found) -> str:
    if name in found.values:
        return "it is there"
    if places := found.asked.get(name):
        return f"looked for at {', then at '.join(places)}"
    if found.asked or found.values:
        return "it is composed of what is missing"
    return (
        "no source of secrets is on: an operator turns one on with a table such as"
        " [plugins.openbao] in kennel.toml"
    )
