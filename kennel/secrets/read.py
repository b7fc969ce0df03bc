"""Reads the secretspec.toml of a commit, which may be anybody's. Pure: nothing is looked up.

What the format allows and a commit may not have is refused with its place and the reason: to
name another project, to refer to what is not shared with it, to choose a provider that is not the
operator's, to run a command, to read other files, to set variables that are not its to set.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kennel.domain import Environment, names
from kennel.domain.secretspec import Declaration, Reference, SecretSpec
from kennel.errors import ConfigError, ManifestError
from kennel.plugin.table import read_table
from kennel.secrets.grants import OWN, SCHEMES, Grants
from kennel.secrets.merge import DEFAULT, Profile, merged
from kennel.secrets.shape import (
    DefaultsShape,
    ExtractShape,
    FileShape,
    GroupShape,
    ProviderShape,
    RefShape,
    SecretShape,
    Shape,
)

FILE = "secretspec.toml"
MOST_BYTES = 256 * 1024
MOST_NAMES = 500
MOST_DOTS = 64
MOST_PROBLEMS = 20
REVISION = "1.0"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
RESERVED = re.compile(
    r"PORT|HOST|PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|ENV|BASH_ENV|IFS|XDG_.*|KENNEL_.*|LD_.*|NIX_.*"
    r"|SECRETSPEC_.*|GLIBC_TUNABLES|CREDENTIALS_DIRECTORY|NOTIFY_SOCKET|LISTEN_.*|INVOCATION_ID"
    r"|JOURNAL_STREAM"
)
"""Variables that belong to Kennel or systemd, or that decide what a program loads."""
SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")
"""One part of a path: no `..`, nothing that a URL or a policy would read as something else."""
DEEP = re.compile(rf"(?:[\w\"' -]+\.){{{MOST_DOTS},}}")
"""A key with so many dots that to read it would take longer than the file is worth."""

S = TypeVar("S", bound=Shape)


def read(text: str, grants: Grants) -> SecretSpec:
    """Return what a secretspec.toml asks for, in every environment.

    Raises ManifestError with every problem, one a line: where it is, and what is allowed.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > MOST_BYTES:
        raise ManifestError(f"{FILE} has {size} bytes; {MOST_BYTES} are allowed")
    return _Reader(text, grants).spec(_decode(text))


def _decode(text: str) -> dict[str, Any]:
    if DEEP.search(text):
        raise ManifestError(f"{FILE}: a key has more than {MOST_DOTS} dots")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is nested too deep"
        raise ManifestError(f"{FILE} is no TOML that Kennel can read: {why}") from None
    except ValueError:  # a number of thousands of digits
        raise ManifestError(f"{FILE} is no TOML that Kennel can read: a value is absurd") from None


@dataclass(frozen=True, slots=True)
class _Where:
    """A place in the file, for people: a table and, in it, a key."""

    table: str
    key: str

    def __str__(self) -> str:
        return f"[{self.table}] {self.key}"


class _Reader:
    """Collects what is wrong on the way."""

    def __init__(self, text: str, grants: Grants) -> None:
        self._lines = text.splitlines()
        self._grants = grants
        self._problems: list[str] = []
        self._aliases: dict[str, str] = {}

    def spec(self, raw: dict[str, Any]) -> SecretSpec:
        shape = self._shape(raw, FileShape, "", "") or FileShape()
        self._check_project(shape)
        self._read_providers(shape.providers or {})
        profiles = self._profiles(shape)
        scopes = self._scopes(shape, profiles)
        self._refuse()
        return SecretSpec(profiles=_for_environments(profiles), scopes=scopes)

    def _refuse(self) -> None:
        found = list(dict.fromkeys(self._problems))
        if len(found) > MOST_PROBLEMS:
            found = [*found[:MOST_PROBLEMS], f"and {len(found) - MOST_PROBLEMS} problems more"]
        if found:
            raise ManifestError("\n".join(found))

    def _problem(self, where: object, why: str) -> None:
        line = self._line(where) if isinstance(where, _Where) else None
        self._problems.append(f"{FILE}{f' line {line}' if line else ''}: {where}: {why}")

    def _line(self, where: _Where) -> int | None:
        """Return the first line that may be the one: after its table's head, with its key first."""
        head = re.compile(rf"\s*\[\s*{re.escape(where.table)}\s*[\].]")
        key = re.compile(rf"""\s*(?:\[.*\.)?["']?{re.escape(where.key)}["']?\s*[=.\]]""")
        start = next((i for i, line in enumerate(self._lines) if head.match(line)), 0)
        for at, line in enumerate(self._lines[start:], start + 1):
            if key.match(line):
                return at
        return None

    def _shape(self, raw: object, shape: type[S], table: str, key: str) -> S | None:
        try:
            return read_table(raw, shape, file=FILE, table=table)
        except ConfigError as error:
            line = self._line(_Where(table.rpartition(".")[0], key)) if table else None
            at = f"{FILE} line {line}" if line else FILE
            self._problems.append(str(error).replace(FILE, at, 1))
            return None

    def _check_project(self, shape: FileShape) -> None:
        """Refuse a project that is not this one, and whatever would read other files."""
        project = shape.project
        if project is None:
            return
        if project.name is not None and project.name != self._grants.project:
            self._problem(
                _Where("project", "name"),
                f"this project is called {self._grants.project!r} here, and has the secrets of no"
                f' other: write name = "{self._grants.project}"',
            )
        if project.revision not in {None, REVISION}:
            self._problem(
                _Where("project", "revision"), f'Kennel reads revision "{REVISION}" and no other'
            )
        if project.extends:
            self._problem(
                _Where("project", "extends"),
                "Kennel reads no other file than this one: declare here what is needed",
            )

    def _read_providers(self, raw: Mapping[str, object]) -> None:
        """Take note of which source of the operator's each alias means."""
        for alias, value in raw.items():
            where = _Where("providers", alias)
            if isinstance(value, dict):
                shape = self._shape(value, ProviderShape, f"providers.{alias}", alias)
                uri = shape.uri if shape else None
            elif isinstance(value, str):
                uri = value
            else:
                uri = None
                self._problem(where, "must be an address in quotes")
            if uri is None:
                continue
            known = self._grants.aliases.get(alias, alias)
            if uri.partition(":")[0] not in {*SCHEMES, *self._grants.sources}:
                self._problem(where, f"commits cannot choose {_scheme(uri)}; {self._there()}")
            elif known in self._grants.sources:
                self._aliases[alias] = known
            elif source := self._grants.source(uri):
                self._aliases[alias] = source
            else:
                self._problem(where, f"there is no such source here; {self._there()}")

    def _there(self) -> str:
        there = ", ".join(self._grants.sources)
        return f"there is: {there}" if there else "an operator has turned on no source of secrets"

    def _sources(self, providers: Iterable[str] | None, where: _Where) -> tuple[str, ...]:
        found = []
        for provider in providers or ():
            source = self._aliases.get(provider) or self._grants.source(provider)
            if source is None:
                self._problem(where, f"providers: {_scheme(provider)} is no source {self._here()}")
            else:
                found.append(source)
        return tuple(dict.fromkeys(found))

    def _here(self) -> str:
        return f"that commits may choose here; {self._there()}"

    def _profiles(self, shape: FileShape) -> dict[str, Profile]:
        """Return every profile as it is declared; a top-level `[secrets]` is part of `default`."""
        raw = {name: dict(table) for name, table in (shape.profiles or {}).items()}
        if shape.secrets:
            taken = raw.setdefault(DEFAULT, {})
            for name, value in shape.secrets.items():
                if name in taken:
                    self._problem(
                        _Where("secrets", name), f"is in [profiles.{DEFAULT}] too: keep one"
                    )
                taken[name] = value
        count = sum(len(table) for table in raw.values())
        if count > MOST_NAMES:
            self._problems.append(f"{FILE}: {count} secrets are declared; {MOST_NAMES} are allowed")
            return {}
        inline = set(shape.secrets or ())
        return {
            name: self._profile(name, table, inline if name == DEFAULT else set())
            for name, table in raw.items()
        }

    def _profile(self, name: str, raw: dict[str, Any], inline: set[str]) -> Profile:
        """Return a profile. `inline`: those of its secrets that are in `[secrets]`."""
        table = f"profiles.{name}"
        if not SEGMENT.fullmatch(name):
            self._problem(_Where("profiles", name), "cannot be the name of a profile")
        rules = raw.get("defaults")
        defaults = None
        if isinstance(rules, dict) and "defaults" not in inline:
            raw = {key: value for key, value in raw.items() if key != "defaults"}
            defaults = self._shape(rules, DefaultsShape, f"{table}.defaults", "defaults")
        defaults = defaults or DefaultsShape()
        fields = {
            key: self._secret(name, _Where("secrets" if key in inline else table, key), value)
            for key, value in raw.items()
        }
        return Profile(
            secrets={key: one for key, one in fields.items() if one is not None},
            inherits=defaults.inherit is not False,
            required=defaults.required,
            default=defaults.default,
            sources=self._sources(defaults.providers, _Where(table, "defaults")),
        )

    def _secret(self, profile: str, where: _Where, raw: object) -> dict[str, Any] | None:
        """Return the fields that a secret sets in a profile, by what `Declaration` calls them."""
        self._check_name(where)
        shape = self._shape(raw, SecretShape, f"{where.table}.{where.key}", where.key)
        if shape is None:
            return None
        if isinstance(shape.generate, dict) and "command" in shape.generate:
            self._problem(where, "generate: Kennel runs no command of a commit's to make a secret")
        found: dict[str, Any] = {
            "default": shape.default,
            "composed": shape.composed,
            "as_path": shape.as_path,
            "encoding": shape.encoding,
            "sources": self._sources(shape.providers, where) or None,
            "ref": self._reference(profile, where, shape.ref),
            **self._required(where, shape.required),
        }
        if shape.extract is not None:
            extract = self._part(where, "extract", shape.extract, ExtractShape)
            if extract is not None:
                found["extract"] = {"format": extract.format, "pointer": extract.pointer}
        if shape.required is True and shape.default is not None:
            self._problem(where, "is required and has a default: one of them says nothing")
        return {key: value for key, value in found.items() if value is not None}

    def _check_name(self, where: _Where) -> None:
        if not NAME.fullmatch(where.key):
            self._problem(
                where, "cannot be the name of a variable: letters, digits and _, no digit first"
            )
        elif RESERVED.fullmatch(where.key.upper()):
            self._problem(where, "is a variable that no secret may set: choose another name")

    def _required(self, where: _Where, raw: bool | dict[str, Any] | None) -> dict[str, Any]:
        if not isinstance(raw, dict):
            return {"required": raw}
        shape = self._part(where, "required", raw, GroupShape)
        if shape is None:
            return {}
        kinds = {"at_least_one": shape.at_least_one, "exactly_one": shape.exactly_one}
        group = {kind: name for kind, name in kinds.items() if name}
        if len(group) != 1:
            self._problem(where, "required: say at_least_one or exactly_one, with a group's name")
        return {"group": group}

    def _part(self, where: _Where, key: str, raw: dict[str, Any], shape: type[S]) -> S | None:
        return self._shape(raw, shape, f"{where.table}.{where.key}.{key}", where.key)

    def _reference(
        self, profile: str, where: _Where, raw: dict[str, Any] | None
    ) -> Reference | None:
        shape = None if raw is None else self._part(where, "ref", raw, RefShape)
        if shape is None:
            return None
        ref = Reference(item=shape.item, field=shape.field)
        if not all(SEGMENT.fullmatch(part) for part in (*ref.item.split("/"), ref.field)):
            self._problem(where, "ref: a path is parts of letters, digits, _, . and - between /")
        elif name := self._grants.own_name(ref, profile):
            if not NAME.fullmatch(name) or ref.field != "value":
                self._problem(where, "ref: the project's own secrets are in the field `value`")
        elif not self._grants.shares(ref.item):
            self._problem(where, f"ref: {self._not_shared(ref)}")
        return ref

    def _not_shared(self, ref: Reference) -> str:
        if ref.item.startswith(f"{OWN}/{self._grants.project}/"):
            return (
                "a profile refers to secrets of its own alone: say it in"
                " [profiles.NAME], where NAME is the one in the path"
            )
        return (
            f"{ref.item} is not this project's, and not shared with it: an operator shares it with"
            f' shared_secrets = ["{ref.item}"] in [projects.{self._grants.project}]'
        )

    def _scopes(
        self, shape: FileShape, profiles: Mapping[str, Profile]
    ) -> dict[str, tuple[str, ...]]:
        declared = {name for profile in profiles.values() for name in profile.secrets}
        for scope, one in (shape.scopes or {}).items():
            where = _Where(f"scopes.{scope}", "secrets")
            if not names.SERVICE.fullmatch(scope):
                self._problem(
                    _Where("scopes", scope), "a scope is called like the service it is of"
                )
            for name in sorted(set(one.secrets) - declared):
                self._problem(where, f"{name!r:.80} is declared in no profile")
        return {name: tuple(one.secrets) for name, one in (shape.scopes or {}).items()}


def _scheme(provider: str) -> str:
    """Return what of a provider can be shown: an address may hold a password."""
    scheme, is_address, _ = provider.partition(":")
    return repr(f"{scheme[:40]}:…" if is_address else scheme[:40])


def _for_environments(profiles: Mapping[str, Profile]) -> dict[str, dict[str, Declaration]]:
    found = {str(one): merged(profiles, str(one)) for one in Environment}
    return {name: secrets for name, secrets in found.items() if secrets}
