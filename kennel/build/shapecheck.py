"""Tells everything that is wrong with a value at once, in the words of whoever wrote it."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

WORDS: dict[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.DictType: "an object",
    inspect.FloatType: "a number",
    inspect.IntType: "a whole number",
    inspect.ListType: "a list",
    inspect.NoneType: "null",
    inspect.StrType: "a string",
    inspect.StructType: "an object",
}
PYTHON: dict[type[inspect.Type], Any] = {
    inspect.BoolType: bool,
    inspect.DictType: dict,
    inspect.FloatType: (int, float),
    inspect.IntType: int,
    inspect.ListType: list,
    inspect.NoneType: type(None),
    inspect.StrType: str,
    inspect.StructType: dict,
}
SHOWN = 60


def problems(raw: object, shape: Any) -> list[str]:
    """Return what is wrong with `raw`, each with the path of its key; nothing if it fits."""
    return list(_check(raw, inspect.type_info(shape), ""))


def _check(raw: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    allowed = [
        _Kind(one) for one in (kind.types if isinstance(kind, inspect.UnionType) else [kind])
    ]
    fitting = next((one for one in allowed if one.takes(raw)), None)
    if fitting is None:
        yield f"{path or 'kennel.json'}: must be {_either(allowed)}, not {_shown(raw)}"
    elif isinstance(fitting.type, inspect.StructType):
        yield from _check_struct(raw, fitting.type, path)
    elif isinstance(fitting.type, inspect.DictType):
        yield from _check_dict(raw, fitting.type, path)
    elif isinstance(fitting.type, inspect.ListType):
        if not fitting.bounds(raw):
            yield f"{path}: must be {fitting.words}, not one of {len(raw)}"
        for place, item in enumerate(raw):
            yield from _check(item, fitting.type.item_type, f"{path}[{place}]")
    elif not fitting.bounds(raw):
        yield f"{path}: must be {fitting.words}, not {_shown(raw)}"


def _check_struct(raw: dict[str, Any], kind: inspect.StructType, path: str) -> Iterator[str]:
    fields = {field.encode_name: field.type for field in kind.fields}
    for key, value in raw.items():
        if key in fields:
            yield from _check(value, fields[key], _join(path, key))
        else:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            yield f"{_join(path, key)}: unknown key; {hint}its keys are: {', '.join(fields)}"


def _check_dict(raw: dict[str, Any], kind: inspect.DictType, path: str) -> Iterator[str]:
    names = _Kind(kind.key_type)
    for key, value in raw.items():
        if isinstance(names.type, inspect.StrType) and not names.bounds(key):
            yield f"{path}: the name {_shown(key)} must be {names.words}"
        yield from _check(value, kind.value_type, _join(path, key))


class _Kind:
    """A type with what people are told of it."""

    def __init__(self, kind: inspect.Type) -> None:
        plain = kind.type if isinstance(kind, inspect.Metadata) else kind
        extra = (kind.extra_json_schema or {}) if isinstance(kind, inspect.Metadata) else {}
        self.type = plain
        self.words = str(extra.get("description") or WORDS.get(type(plain), "something else"))

    def takes(self, raw: object) -> bool:
        """Return whether a value is of this type, whatever its bounds."""
        wanted = PYTHON.get(type(self.type), object)
        if isinstance(raw, bool):  # which Python takes for an int, and nobody else does
            return wanted in {bool, object}
        return isinstance(raw, wanted)

    def bounds(self, raw: Any) -> bool:
        """Return whether a value of this type lies within its bounds."""
        match self.type:
            case inspect.StrType(pattern=pattern, max_length=longest):
                return (pattern is None or re.search(_to_end(pattern), raw) is not None) and (
                    longest is None or len(raw) <= longest
                )
            case inspect.IntType(ge=low, le=high):
                return (low is None or raw >= low) and (high is None or raw <= high)
            case inspect.ListType(max_length=longest):
                return longest is None or len(raw) <= longest
            case inspect.FloatType(gt=low, le=high):
                return (low is None or raw > low) and (high is None or raw <= high)
        return True


def _to_end(pattern: str) -> str:
    """Return a pattern whose `$` means the end, as in JSON schema, and no line feed before it."""
    return pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _either(kinds: list[_Kind]) -> str:
    words = [one.words for one in kinds if not isinstance(one.type, inspect.NoneType)]
    return " or ".join(dict.fromkeys(words)) or kinds[0].words


def _shown(raw: object) -> str:
    """Return a value for an error: short, and only its kind where it is more than a word."""
    if isinstance(raw, dict):
        return "an object"
    if isinstance(raw, list):
        return "a list"
    if raw is None or isinstance(raw, bool):
        return {None: "null", True: "true", False: "false"}[raw]
    text = repr(raw)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
