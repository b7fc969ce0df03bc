"""What Garage's admin API answers, version 2; version 1 says less of the same.

Source: doc/api/garage-admin-v2.json of Garage, and src/api/admin/router_v1.rs of its 1.x.
"""

import msgspec


class Shape(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an answer. What Kennel has no use for is passed over."""


class ListedKey(Shape, frozen=True):
    id: str
    name: str


class Key(Shape, frozen=True):
    """`secret_access_key`: only where it was asked for."""

    access_key_id: str
    secret_access_key: str | None = None


class Permissions(Shape, frozen=True):
    read: bool = False
    write: bool = False
    owner: bool = False


class KeyOfBucket(Shape, frozen=True):
    """A key that may do something with a bucket, or calls it something."""

    access_key_id: str
    permissions: Permissions = Permissions()
    bucket_local_aliases: tuple[str, ...] = ()


class Quotas(Shape, frozen=True):
    """What a bucket may hold: bytes and objects; None: there is no limit."""

    max_size: int | None = None
    max_objects: int | None = None


class Website(Shape, frozen=True):
    index_document: str | None = None
    error_document: str | None = None


class CorsRule(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A rule as S3 has it. Garage calls lists by one of them."""

    allowed_origin: tuple[str, ...]
    allowed_method: tuple[str, ...]
    allowed_header: tuple[str, ...] = ()
    expose_header: tuple[str, ...] = ()
    max_age_seconds: int | None = None


class Bucket(Shape, frozen=True):
    """`bytes` and `objects`: what is in it, as Garage has counted so far."""

    id: str
    global_aliases: tuple[str, ...] = ()
    keys: tuple[KeyOfBucket, ...] = ()
    website_access: bool = False
    website_config: Website | None = None
    cors_rules: tuple[CorsRule, ...] = ()
    quotas: Quotas = Quotas()
    objects: int = 0
    bytes: int = 0


class LocalAlias(Shape, frozen=True):
    access_key_id: str
    alias: str


class ListedBucket(Shape, frozen=True):
    id: str
    global_aliases: tuple[str, ...] = ()
    local_aliases: tuple[LocalAlias, ...] = ()
