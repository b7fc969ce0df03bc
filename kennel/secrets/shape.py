"""What a secretspec.toml may say, table by table. Formats: the secretspec documentation, 0.21."""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=64 * 1024)]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the tables."""


class ProjectShape(Shape, frozen=True):
    """`[project]`. Only the name counts, and it has to be the project's own."""

    name: Name | None = None
    revision: Name | None = None
    extends: list[Name] | None = None
    require_reason: bool | Name | None = None


class GroupShape(Shape, frozen=True):
    """`required = { at_least_one = "GROUP" }`."""

    at_least_one: Name | None = None
    exactly_one: Name | None = None


class RefShape(Shape, frozen=True):
    """`ref = { item = "shared/smtp", field = "password" }`."""

    item: Name
    field: Name = "value"


class ExtractShape(Shape, frozen=True):
    """`extract = { format = "json", pointer = "/password" }`."""

    format: Literal["json", "ini"]
    pointer: Name


class DefaultsShape(Shape, frozen=True):
    """`[profiles.NAME.defaults]`: for secrets of that profile that do not say otherwise."""

    required: bool | None = None
    default: Text | None = None
    providers: list[Name] | None = None
    inherit: bool | None = None


class SecretShape(Shape, frozen=True):
    """One secret in one profile. None: it does not say."""

    description: Text | None = None
    required: bool | dict[str, Any] | None = None
    default: Text | None = None
    composed: Text | None = None
    providers: list[Name] | None = None
    ref: dict[str, Any] | None = None
    as_path: bool | None = None
    encoding: Literal["base64", "base64url", "hex"] | None = None
    extract: dict[str, Any] | None = None
    type: Name | None = None
    generate: bool | dict[str, Any] | None = None
    prompt: bool | None = None


class ScopeShape(Shape, frozen=True):
    """`[scopes.SERVICE]`."""

    secrets: list[Name]


class ProviderShape(Shape, frozen=True):
    """`[providers]`, where an alias is a table."""

    uri: Text


class FileShape(Shape, frozen=True):
    """The whole file."""

    project: ProjectShape | None = None
    secrets: dict[str, Any] | None = None
    profiles: dict[str, dict[str, Any]] | None = None
    providers: dict[str, Any] | None = None
    scopes: dict[str, ScopeShape] | None = None
