"""Makes a tenant's bucket and key, and takes them away, call by call.

What a crash leaves between two calls is gone on from: see `kennel_garage.marks`.
"""

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from kennel.domain import Secret, Tenant, names
from kennel.errors import Rejected, Unavailable
from kennel_garage.admin import Admin
from kennel_garage.contents import S3, Access, Credentials, empty
from kennel_garage.marks import is_nobodys, keys_by_tenant, mark, owner_of
from kennel_garage.options import Cors, GarageOptions
from kennel_garage.shapes import Bucket, CorsRule, Key, Permissions, Quotas, Website

log = structlog.get_logger(__name__)
USES = Permissions(read=True, write=True)
"""What a tenant may do with its bucket. Its settings are not its own to change."""
WRITES = Permissions(write=True, owner=True)
"""What its key loses first when a bucket goes. One that may not even read is no mark any more."""
PATIENCE = 3
"""Times that a bucket is emptied in which something appears again."""


async def make_whole(
    admin: Admin, tenant: Tenant, options: GarageOptions, quotas: Quotas
) -> Credentials:
    """Make a tenant's key and bucket so. Raises Unavailable, Rejected."""
    keys = await keys_of(admin, tenant)
    key = None if keys else await admin.create_key(mark(tenant))
    bucket, owner = await _bucket(admin, tenant, [key.access_key_id] if key else keys)
    for extra in keys:
        if extra != owner:
            await admin.delete_key(extra)
    await _permit(admin, bucket, owner)
    if change := _change(bucket, options, quotas):
        changed = await admin.update_bucket(bucket.id, change)
        _refuse_without_cors(changed, options)
    return _given(key or await admin.key(owner), tenant)


async def keys_of(admin: Admin, tenant: Tenant) -> Sequence[str]:
    """Return the ids of a tenant's keys."""
    return keys_by_tenant(await admin.keys()).get(tenant, ())


async def _bucket(admin: Admin, tenant: Tenant, keys: Sequence[str]) -> tuple[Bucket, str]:
    """Return a tenant's bucket and which of its keys that belongs to; make it if it is not."""
    name = names.bucket(tenant)
    if made := await admin.create_bucket(name, keys[0], USES):
        return made, keys[0]
    found = await admin.bucket(name)
    if found is None:
        raise Unavailable(f"garage: bucket {name} went as it was looked at")
    if owner := owner_of(found, keys, tenant):
        return found, owner
    if not is_nobodys(found):
        raise Rejected(
            f"garage: there is a bucket {name} that is not Kennel's: call it something else, with"
            f" `garage bucket alias` and `garage bucket unalias {name}`"
        )
    await admin.delete_bucket(found.id)  # half made: it is empty, and no key reaches it
    made = await admin.create_bucket(name, keys[0], USES)
    if made is None:
        raise Unavailable(f"garage: somebody else makes the bucket {name}")
    return made, keys[0]


async def _permit(admin: Admin, bucket: Bucket, owner: str) -> None:
    """Let the tenant's key do what it may, and no more."""
    has = next(one.permissions for one in bucket.keys if one.access_key_id == owner)
    if not (has.read and has.write):
        await admin.allow(bucket.id, owner, USES)
    if has.owner:
        await admin.deny(bucket.id, owner, Permissions(owner=True))


def _change(bucket: Bucket, options: GarageOptions, quotas: Quotas) -> Mapping[str, object]:
    """Return what of a bucket's settings is to be another."""
    change: dict[str, object] = {}
    if bucket.quotas != quotas:
        change["quotas"] = quotas
    site = Website(options.index, options.error) if options.public else None
    if bucket.website_access != options.public or (site and bucket.website_config != site):
        change["websiteAccess"] = {
            "enabled": options.public,
            **(msgspec.to_builtins(site) if site else {}),
        }
    rules = tuple(map(_rule, options.cors))
    if bucket.cors_rules != rules:
        change["corsRules"] = rules
    return change


def _rule(cors: Cors) -> CorsRule:
    return CorsRule(
        allowed_origin=cors.origins,
        allowed_method=cors.methods,
        allowed_header=cors.headers,
        expose_header=cors.expose,
        max_age_seconds=cors.max_age,
    )


def _refuse_without_cors(bucket: Bucket, options: GarageOptions) -> None:
    """Raise Rejected where Garage passed over the rules: it did not know of them then."""
    if options.cors and not bucket.cors_rules:
        raise Rejected(
            "resource garage: cors: this Garage takes no CORS rules from its admin API; the"
            " operator has to upgrade it to 2.3 or newer"
        )


def _given(key: Key | None, tenant: Tenant) -> Credentials:
    if key is None or not key.secret_access_key:
        raise Unavailable(f"garage: the key of {tenant} went as it was looked at")
    return Credentials(key.access_key_id, Secret(key.secret_access_key))


async def take_away(admin: Admin, tenant: Tenant, s3: S3) -> None:
    """Remove a tenant's bucket with what is in it, and then its keys.

    Its own key may write nothing any more from the first call on: a service that still runs cannot
    be faster than what empties the bucket. The keys go last, for they are the mark.
    """
    keys = await keys_of(admin, tenant)
    bucket = await admin.bucket(names.bucket(tenant)) if keys else None
    if bucket and owner_of(bucket, keys, tenant):
        for one in bucket.keys:
            if one.access_key_id in keys:
                await admin.deny(bucket.id, one.access_key_id, WRITES)
        if not (await admin.abort_uploads(bucket.id) and await admin.delete_bucket(bucket.id)):
            fresh = await admin.create_key(mark(tenant))
            await admin.allow(bucket.id, fresh.access_key_id, USES)
            await _remove_with_contents(admin, bucket, tenant, s3.by(_given(fresh, tenant)))
            keys = [fresh.access_key_id, *keys]
    elif bucket and is_nobodys(bucket):
        await admin.delete_bucket(bucket.id)
    for key in keys:
        await admin.delete_key(key)


async def _remove_with_contents(
    admin: Admin, bucket: Bucket, tenant: Tenant, access: Access
) -> None:
    """Empty a bucket with a key that may write, and remove it."""
    name = names.bucket(tenant)

    def tell(removed: int) -> None:
        log.info(
            "emptying a bucket", tenant=str(tenant), bucket=name, removed=removed, of=bucket.objects
        )

    for _ in range(PATIENCE):
        await empty(access, name, tell)
        if await admin.delete_bucket(bucket.id):
            return
    raise Unavailable(f"garage: something goes on writing into bucket {name}, with a foreign key")
