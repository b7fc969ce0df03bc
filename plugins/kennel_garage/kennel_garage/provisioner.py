"""A bucket and a key on one Garage cluster for every tenant."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from weakref import WeakValueDictionary

import httpx

from kennel.domain import Env, Secret, Tenant, names
from kennel.errors import Rejected, Unavailable
from kennel.plugin import Provisioner, Resource
from kennel_garage.admin import Admin
from kennel_garage.bucket import make_whole, take_away
from kennel_garage.config import GarageConfig
from kennel_garage.contents import S3
from kennel_garage.marks import has_alias, keys_by_tenant
from kennel_garage.options import read_options
from kennel_garage.shapes import Quotas

VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "S3_BUCKET",
        "S3_ENDPOINT",
        "S3_REGION",
    }
)
TURNS: WeakValueDictionary[tuple[str, Tenant], asyncio.Lock] = WeakValueDictionary()
"""Who is at work on a tenant. Garage makes two keys of one name if it is told so twice."""


class GarageProvisioner(Provisioner):
    """Gives each tenant a bucket and a key that can read and write it, and nothing else.

    Nothing of it is kept here: Garage itself tells the secret of a key again.
    """

    name = "garage"
    variables = VARIABLES

    def __init__(self, config: GarageConfig, admin: Admin) -> None:
        self._config = config
        self._admin = admin
        self._s3 = S3(endpoint=config.endpoint, region=config.region)
        self._quotas = Quotas(config.max_size, config.max_objects)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._admin.close()

    async def check(self) -> None:
        health = await self._admin.health()
        if health.status == "unavailable":
            raise Unavailable("garage: the cluster has too few nodes: `garage status` shows them")
        await self._admin.keys()  # what health answers to everybody does not try the token
        await _check_s3(self._config.endpoint, self._config.region)

    def check_options(self, options: Mapping[str, object]) -> None:
        read_options(options)

    async def observe(self) -> set[Tenant]:
        return set(keys_by_tenant(await self._admin.keys()))

    async def lacking(self, tenants: Collection[Tenant]) -> set[Tenant]:
        buckets = {
            alias: one for one in await self._admin.buckets() for alias in one.global_aliases
        }
        called = {tenant: names.bucket(tenant) for tenant in tenants}
        return {
            tenant
            for tenant, name in called.items()
            if name not in buckets or not has_alias(buckets[name], name)
        }

    async def resources(self) -> Sequence[Resource]:
        return await asyncio.gather(*map(self._resource, sorted(await self.observe())))

    async def _resource(self, tenant: Tenant) -> Resource:
        name = names.bucket(tenant)
        bucket = await self._admin.bucket(name)
        if bucket is None:
            return Resource(tenant=tenant, name=name, detail="half made: there is only a key")
        detail = f"{bucket.objects} objects{', public' if bucket.website_access else ''}"
        return Resource(tenant=tenant, name=name, size=bucket.bytes, detail=detail)

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        wanted = read_options(options)
        async with self._turn(tenant):
            given = await make_whole(self._admin, tenant, wanted, self._quotas)
        endpoint, region = Secret(self._config.endpoint), Secret(self._config.region)
        return {
            "S3_ENDPOINT": endpoint,
            "S3_BUCKET": Secret(names.bucket(tenant)),
            "S3_REGION": region,
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ACCESS_KEY_ID": Secret(given.key_id),
            "AWS_SECRET_ACCESS_KEY": given.secret,
        }

    async def remove(self, tenant: Tenant) -> None:
        async with self._turn(tenant):
            await take_away(self._admin, tenant, self._s3)

    def _turn(self, tenant: Tenant) -> asyncio.Lock:
        return TURNS.setdefault((self._config.admin_url, tenant), asyncio.Lock())


async def _check_s3(endpoint: str, region: str) -> None:
    """Raise Unavailable or Rejected unless a Garage of this region speaks S3 there."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            answer = await client.get(endpoint)
    except httpx.HTTPError as error:
        what = str(error) or type(error).__name__
        raise Unavailable(f"garage: nobody speaks S3 at {endpoint}: {what}") from error
    _, told, rest = answer.text.partition("<Region>")
    there = rest.partition("</Region>")[0]
    if not told:
        raise Rejected(
            f"garage: what answers at {endpoint} is no Garage: [plugins.garage] endpoint has to be"
            " its [s3_api] api_bind_addr"
        )
    if there != region:
        raise Rejected(
            f'garage: the region at {endpoint} is "{there}", not "{region}": set [plugins.garage]'
            " region"
        )
