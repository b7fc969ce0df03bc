"""Reads a table of kennel.toml as a struct, or says in its author's words what is wrong with it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from kennel.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)

WORDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "nothing",
    "object": "a table",
    "Path": "a path in quotes",
    "str": "text in quotes",
}
"""What msgspec calls a type, and what people do."""

PLACE = re.compile(r"(.*?) - at (`key` in )?`\$(.*)`")
"""What msgspec says, and of what: `… - at `$.web.port``, `… - at `key` in `$.environments``."""

STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
"""One step of msgspec's `$.projects[...].domains[0]`; `[...]` stands for any key of a table."""


def read_table(raw: object, shape: type[S], *, file: str, table: str = "") -> S:
    """Return `raw`, what TOML holds, as `shape`. `table`: its dotted name, "" for the whole file.

    Text becomes a `Path` where the shape wants one. Raises ConfigError naming the file, the table
    and the key; it shows no value that was given, which might be a secret in the wrong place.
    """
    try:
        return msgspec.convert(raw, shape, strict=True, dec_hook=_decode)
    except msgspec.ValidationError as error:
        said = PLACE.fullmatch(str(error))
        what, of_key, place = said.groups() if said else (str(error), None, "")
        steps = _steps(place)
        at = _Place(table, _resolve(raw, shape, steps), inspect.type_info(shape))
        if of_key:
            [unknown, *_] = [key for key in _at(raw, at.steps) if str(key) not in at.names]
            what = f"Object contains unknown field `{unknown}`"
        # Not `from error`: its message may hold what was given.
        raise ConfigError(f"{file}: {_explain(what, at)}") from None


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected `{kind.__name__}`, got `{_name(value)}`")


def _name(value: object) -> str:
    name = type(value).__name__
    return {"list": "array", "dict": "object"}.get(name, name)


Steps = tuple[str | int, ...]


def _steps(place: str) -> Steps:
    return tuple(key or (int(i) if i.isdigit() else i) for key, i in STEP.findall(place))


def _resolve(raw: Any, shape: type[msgspec.Struct], steps: Steps) -> Steps:
    """Replace every `...` by the key that is at fault: the one that is wrong all by itself."""
    for at, step in enumerate(steps):
        if step == "...":
            keys = _at(raw, steps[:at])
            guilty = next((k for k in keys if _fails(_only(raw, steps[:at], k), shape)), "...")
            steps = (*steps[:at], guilty, *steps[at + 1 :])
    return steps


def _at(raw: Any, steps: Steps) -> Any:
    for step in steps:
        raw = raw[step]
    return raw


def _only(raw: Any, steps: Steps, key: str) -> Any:
    """Return a copy of `raw` in which the table at `steps` has but this key."""
    if not steps:
        return {key: raw[key]}
    first, rest = steps[0], steps[1:]
    changed = _only(raw[first], rest, key)
    if isinstance(raw, Mapping):
        return {**raw, first: changed}
    return [changed if i == first else item for i, item in enumerate(raw)]


def _fails(raw: object, shape: type[msgspec.Struct]) -> bool:
    try:
        msgspec.convert(raw, shape, strict=True, dec_hook=_decode)
    except msgspec.ValidationError:
        return True
    return False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is wrong."""

    table: str
    steps: Steps
    shape: inspect.Type

    @property
    def dotted(self) -> str:
        text = self.table
        for step in self.steps:
            text += f"[{step}]" if isinstance(step, int) else f".{step}"
        return text.lstrip(".")

    @property
    def key(self) -> str:
        table, dot, key = self.dotted.rpartition(".")
        return f"[{table}] {key}" if dot else key or "the file"

    @property
    def wanted(self) -> inspect.Type | None:
        """Return what is expected there."""
        kind: inspect.Type | None = self.shape
        for step in self.steps:
            kind = _inside(_plain(kind), step)
        return kind

    @property
    def names(self) -> list[str]:
        """Return the keys that there may be."""
        kind = _plain(self.wanted)
        if isinstance(kind, inspect.DictType) and isinstance(kind.key_type, inspect.EnumType):
            return [str(one.value) for one in kind.key_type.cls]
        return [f.encode_name for f in kind.fields] if isinstance(kind, inspect.StructType) else []

    @property
    def keys(self) -> str:
        return ", ".join(self.names) or "(none)"

    @property
    def examples(self) -> list[object]:
        kind = self.wanted
        ways = kind.types if isinstance(kind, inspect.UnionType) else [kind]
        noted = [one.extra_json_schema or {} for one in ways if isinstance(one, inspect.Metadata)]
        return [example for one in noted for example in one.get("examples", [])]


def _not_none(kind: inspect.Type | None) -> inspect.Type | None:
    if isinstance(kind, inspect.UnionType):
        return next((t for t in kind.types if not isinstance(t, inspect.NoneType)), None)
    return kind


def _plain(kind: inspect.Type | None) -> inspect.Type | None:
    kind = _not_none(kind)
    return _plain(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _inside(kind: inspect.Type | None, step: str | int) -> inspect.Type | None:
    if isinstance(kind, inspect.StructType):
        return next((f.type for f in kind.fields if f.encode_name == step), None)
    if isinstance(kind, inspect.DictType):
        return kind.value_type
    return getattr(kind, "item_type", None)


def _explain(what: str, at: _Place) -> str:
    where = f"[{at.dotted}]" if at.dotted else "at the top"
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
        return f"{where}: unknown key {unknown[1]!r}; its keys are: {at.keys}"
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        return f"{where}: the key {missing[1]!r} is missing; its keys are: {at.keys}"
    return f"{at.key}: {_demand(what, at)}"


def _demand(what: str, at: _Place) -> str:
    """Return what a value has to be."""
    if types := re.fullmatch(r"Expected `([\w |]+)`, got `(\w+)`", what):
        wanted = " or ".join(WORDS.get(w, w) for w in types[1].split(" | ") if w != "null")
        return f"must be {wanted}, not {WORDS.get(types[2], types[2])}"
    if at.examples:
        return f"must be written like {_quoted(at.examples, ' or ')}"
    kind = _plain(at.wanted)
    if isinstance(kind, inspect.LiteralType):
        return f"must be one of {_quoted(kind.values, ', ')}"
    if bound := re.fullmatch(r"Expected `(\w+)` (<|<=|>|>=) (\S+)", what):
        return f"must be {WORDS.get(bound[1], bound[1])} {bound[2]} {bound[3].removesuffix('.0')}"
    return what


def _quoted(values: Iterable[object], between: str) -> str:
    return between.join(f'"{value}"' for value in values)
