"""How it is known what is a tenant's.

The mark is the name of the tenant's key, `kennel: PROJECT/REF`: no tenant can change it. The key is
made before the bucket and removed after it, so nothing is ever there unmarked. The bucket is called
by `names.bucket`, by everybody and by the tenant's key; that the key does so marks the bucket.
"""

from collections.abc import Iterable, Mapping, Sequence

from kennel.domain import Tenant, names
from kennel_garage.shapes import Bucket, ListedBucket, ListedKey

MARK = "kennel: "


def mark(tenant: Tenant) -> str:
    """Return the name of a tenant's key."""
    return f"{MARK}{tenant}"


def marked(name: str) -> Tenant | None:
    """Return the tenant whose key is called so, None for somebody else's."""
    if not name.startswith(MARK):
        return None
    try:
        tenant = Tenant.parse(name.removeprefix(MARK))
    except ValueError:
        return None
    return tenant if mark(tenant) == name else None


def keys_by_tenant(keys: Iterable[ListedKey]) -> Mapping[Tenant, Sequence[str]]:
    """Return the ids of every tenant's keys. There are two where a call was cut off once."""
    found: dict[Tenant, list[str]] = {}
    for key in sorted(keys, key=lambda one: one.id):
        if (tenant := marked(key.name)) is not None:
            found.setdefault(tenant, []).append(key.id)
    return found


def has_alias(bucket: ListedBucket, name: str) -> bool:
    """Return whether a bucket is called so by everybody, and by a key."""
    called = {one.alias for one in bucket.local_aliases}
    return name in bucket.global_aliases and name in called


def owner_of(bucket: Bucket, keys: Sequence[str], tenant: Tenant) -> str | None:
    """Return which of a tenant's keys its bucket is marked by, None if by none of them."""
    name = names.bucket(tenant)
    for one in bucket.keys:
        if one.access_key_id in keys and name in one.bucket_local_aliases:
            return one.access_key_id
    return None


def is_nobodys(bucket: Bucket) -> bool:
    """Return whether no key may do anything with a bucket, and nothing is in it.

    So it looks while it is being made.
    """
    return not bucket.keys and not bucket.objects and len(bucket.global_aliases) <= 1
