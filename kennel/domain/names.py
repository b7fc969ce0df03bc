"""Every name Kennel gives to anything, and the only place that makes one. Pure.

A name is made of readable slugs. Where writing a part as a slug changed it, where a name is too
long for the system that has to take it, or where it could be read in two ways, a short hash of
the raw tuple is added. So no look-up is needed, and no two tenants ever meet:

    (shop, main)       kennel_shop_main            kennel-shop--main
    (shop, feature/x)  kennel_shop_feature-x_ndv…  kennel-shop--feature-x--ndv…

Hosts are for people and may be ambiguous: `host_labels` offers a plain label, then ones with a
hash, and the store takes the first that is free and keeps it.
"""

import re
from base64 import b32encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from ipaddress import ip_address
from itertools import count

from kennel.domain.manifest import Manifest
from kennel.domain.tenant import Key, RefKind, Tenant

HASH_LENGTH = 10
LABEL_MAX = 63
"""Bytes in a DNS label, a PostgreSQL identifier and a Garage bucket name."""
PROJECT_MAX = 39
UNIT_MAX = 150
"""Bytes of a unit's name without its suffix: 255 is systemd's limit, people read them too."""

PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?")
"""What a project may be called: it is in every host and unit."""
SERVICE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?")
"""What a service or site may be called."""
HOST = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)


def is_address(text: str) -> bool:
    """Return whether a text is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def has_password(url: str) -> bool:
    """Return whether a URL holds a password: `https://user:password@host/path`."""
    before, at, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    return bool(at) and ":" in before


def slug(text: str) -> str:
    """Return `text` in `[a-z0-9-]`: lower case, one dash for every run of anything else."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def short_hash(parts: Iterable[str]) -> str:
    """Return 10 characters of `[a-z2-7]` that stand for the raw parts."""
    digest = sha256(b"\0".join(part.encode() for part in parts)).digest()
    return b32encode(digest).decode().lower()[:HASH_LENGTH]


def project(full_name: str) -> str:
    """Return the name a repository's project gets when nobody chose one: `acme/Shop` → `shop`."""
    return slug(full_name.rpartition("/")[2])[:PROJECT_MAX].strip("-") or "project"


def project_with_owner(full_name: str) -> str:
    """Return the name for when `project` is taken: `acme/shop` → `acme-shop`."""
    plain = slug(full_name)
    if len(plain) <= PROJECT_MAX and PROJECT.fullmatch(plain):
        return plain
    return f"{plain[:28].strip('-')}-{short_hash([full_name])}".lstrip("-")


def _joined(
    raw: tuple[str, ...], slugs: tuple[str, ...], *, prefix: str, separator: str, limit: int
) -> str:
    """Join the slugs; add a hash of the raw parts where the slugs do not say it all.

    A slug holds no two dashes in a row, no underscore and no dash at its ends, so the separator
    parts them for certain; and the hash is one part more, so that no plain name looks like it.
    """
    plain = prefix + separator.join(slugs)
    if raw == slugs and len(plain) <= limit:
        return plain
    readable = plain[: limit - HASH_LENGTH - len(separator)].rstrip("-_")
    return f"{readable}{separator}{short_hash(raw)}"


def _raw(tenant: Tenant) -> tuple[str, str]:
    """Return the tenant's parts so that only a true pull request has a `pr-N`."""
    if tenant.ref.kind is RefKind.PULL_REQUEST:
        return tenant.project, tenant.ref.short
    return tenant.project, str(tenant.ref)


def _name(
    tenant: Tenant, *more: str, prefix: str, separator: str = "--", limit: int = LABEL_MAX
) -> str:
    slugs = tuple(slug(part) or "x" for part in (tenant.project, tenant.ref.short, *more))
    raw = (*_raw(tenant), *more)
    return _joined(raw, slugs, prefix=prefix, separator=separator, limit=limit)


def tenant(tenant: Tenant) -> str:
    """Return the name of a tenant's folders and links. At most 63 bytes of `[a-z0-9-]`."""
    return _name(tenant, prefix="")


def unit(key: Key, generation: str) -> str:
    """Return the name of a generation's unit, without `.service`. At most 150 bytes.

    `generation` is 12 hexadecimal digits: longer than a hash, so the two cannot be confused.
    """
    return _name(key.tenant, key.name, generation, prefix="kennel-", limit=UNIT_MAX)


def database(tenant: Tenant) -> str:
    """Return the name of a tenant's PostgreSQL database and role. At most 63 bytes."""
    return _name(tenant, prefix="kennel_", separator="_")


def database_beside(tenant: Tenant, what: str) -> str:
    """Return the name of a database that is being made for a tenant, or was replaced: scrap.

    `what`: `[a-z]+`. At most 63 bytes. No tenant's own database begins like it.
    """
    return _name(tenant, prefix=f"kennel-{what}_", separator="_")


def snapshot(project: str, *, what: str = "") -> str:
    """Return the name of the database, and of its owner, that previews of a project start from.

    `what`: `new` and `old` are one that is being made and one that was replaced.
    """
    prefix = f"kennel-snapshot-{what}_" if what else "kennel-snapshot_"
    raw, slugs = (project,), (slug(project) or "x",)
    return _joined(raw, slugs, prefix=prefix, separator="_", limit=LABEL_MAX)


def bucket(tenant: Tenant) -> str:
    """Return the name of a tenant's bucket. At most 63 bytes of `[a-z0-9-]`."""
    return _name(tenant, prefix="kennel-")


def host_labels(tenant: Tenant, name: str | None) -> Iterator[str]:
    """Yield the host labels that a service may have (None: the primary), best first, without end.

    Each is at most 63 bytes. The first is plain, for people, and may be another tenant's already;
    so may any other, if somebody was unkind enough to name a branch like it.
    """
    parts = (slug(tenant.project), slug(name or ""), slug(tenant.ref.short))
    plain = "-".join(part for part in parts if part)
    if len(plain) <= LABEL_MAX and parts[2]:
        yield plain
    for attempt in count():
        marked = short_hash(("host", *_raw(tenant), name or "", str(attempt)))
        yield f"{plain[: LABEL_MAX - HASH_LENGTH - 1].rstrip('-')}-{marked}"


def primary_of(project: str, manifest: Manifest) -> str | None:
    """Return the service or site that gets the plain host `{project}-{ref}`."""
    service = manifest.services.get(project)
    if project in manifest.sites or (service is not None and service.listens):
        return project
    return manifest.primary
