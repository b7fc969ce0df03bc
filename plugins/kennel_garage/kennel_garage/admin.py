"""Garage's admin API, in its version 2 and, where the server is older, in version 1."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

import httpx
import msgspec

from kennel.domain import Secret
from kennel.errors import ConfigError, ProviderError, Rejected, Unavailable
from kennel_garage.shapes import Bucket, Key, ListedBucket, ListedKey, Permissions

T = TypeVar("T")

Name: TypeAlias = Literal[
    "health", "list keys", "key", "create key", "delete key", "list buckets", "bucket",
    "create bucket", "update bucket", "delete bucket", "allow", "deny", "clean up",
]  # fmt: skip
Dialect: TypeAlias = Mapping[Name, tuple[str, str]]
"""Of each call its method and path. Queries and bodies are the same in both versions."""

V2: Dialect = MappingProxyType(
    {
        "health": ("GET", "/v2/GetClusterHealth"),
        "list keys": ("GET", "/v2/ListKeys"),
        "key": ("GET", "/v2/GetKeyInfo"),
        "create key": ("POST", "/v2/CreateKey"),
        "delete key": ("POST", "/v2/DeleteKey"),
        "list buckets": ("GET", "/v2/ListBuckets"),
        "bucket": ("GET", "/v2/GetBucketInfo"),
        "create bucket": ("POST", "/v2/CreateBucket"),
        "update bucket": ("POST", "/v2/UpdateBucket"),
        "delete bucket": ("POST", "/v2/DeleteBucket"),
        "allow": ("POST", "/v2/AllowBucketKey"),
        "deny": ("POST", "/v2/DenyBucketKey"),
        "clean up": ("POST", "/v2/CleanupIncompleteUploads"),
    }
)
V1: Dialect = MappingProxyType(
    {
        "health": ("GET", "/v1/health"),
        "list keys": ("GET", "/v1/key"),
        "key": ("GET", "/v1/key"),
        "create key": ("POST", "/v1/key"),
        "delete key": ("DELETE", "/v1/key"),
        "list buckets": ("GET", "/v1/bucket"),
        "bucket": ("GET", "/v1/bucket"),
        "create bucket": ("POST", "/v1/bucket"),
        "update bucket": ("PUT", "/v1/bucket"),
        "delete bucket": ("DELETE", "/v1/bucket"),
        "allow": ("POST", "/v1/bucket/allow"),
        "deny": ("POST", "/v1/bucket/deny"),
    }
)

GONE = frozenset({"NoSuchBucket", "NoSuchAccessKey", "NoSuchKey"})
TOGETHER = 8
"""Calls at a time. Garage hashes the token of each anew, which is some milliseconds of work."""
TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class Refusal(Exception):
    """Garage says no to one call. `code`: its own word, such as `NoSuchBucket`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Nothing(msgspec.Struct):
    """An answer of which nothing is of use."""


class _Problem(msgspec.Struct):
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a cluster is: `healthy`, `degraded` or `unavailable`; and the API's version."""

    status: str
    version: int


class Admin:
    """Calls the admin API at a URL. Every method raises Unavailable and Rejected.

    It takes no proxy from the environment: the token is for nobody but Garage.
    """

    def __init__(self, url: str, token: Secret) -> None:
        if not (token.value.isascii() and token.value.isprintable()):
            raise ConfigError("[plugins.garage] admin_token: it is not one line of ASCII")
        self._url = url
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=TIMEOUT,
            headers={"Authorization": f"Bearer {token.value}"},
            trust_env=False,
        )
        self._dialect: Dialect | None = None
        self._turns = asyncio.Semaphore(TOGETHER)

    async def close(self) -> None:
        await self._client.aclose()

    # Keys.

    async def keys(self) -> Sequence[ListedKey]:
        return await self._ask("list keys", tuple[ListedKey, ...])

    async def create_key(self, name: str) -> Key:
        return await self._ask("create key", Key, body={"name": name})

    async def key(self, key_id: str) -> Key | None:
        """Return a key with its secret, None if there is none."""
        return await self._find("key", Key, {"id": key_id, "showSecretKey": "true"})

    async def delete_key(self, key_id: str) -> None:
        await self._delete("delete key", key_id)

    # Buckets.

    async def buckets(self) -> Sequence[ListedBucket]:
        return await self._ask("list buckets", tuple[ListedBucket, ...])

    async def bucket(self, alias: str) -> Bucket | None:
        """Return the bucket that everybody calls by a name, None if there is none."""
        return await self._find("bucket", Bucket, {"globalAlias": alias})

    async def create_bucket(self, alias: str, key_id: str, allow: Permissions) -> Bucket | None:
        """Make a bucket that everybody and a key call by a name; None if there is one.

        Without the name a call that is repeated would make one bucket more each time.
        """
        local = {"accessKeyId": key_id, "alias": alias, "allow": allow}
        try:
            return await self._call(
                "create bucket", Bucket, body={"globalAlias": alias, "localAlias": local}
            )
        except Refusal as refusal:
            if refusal.code == "BucketAlreadyExists":
                return None
            raise self._explained(refusal) from refusal

    async def update_bucket(self, bucket_id: str, change: Mapping[str, object]) -> Bucket:
        return await self._ask("update bucket", Bucket, query={"id": bucket_id}, body=change)

    async def abort_uploads(self, bucket_id: str) -> bool:
        """Abort every upload that is under way; return False where only S3 can do that."""
        if await self._version() is V1:
            return False
        await self._ask("clean up", _Nothing, body={"bucketId": bucket_id, "olderThanSecs": 0})
        return True

    async def delete_bucket(self, bucket_id: str) -> bool:
        """Remove a bucket; return False if something is in it."""
        try:
            await self._call("delete bucket", None, query={"id": bucket_id})
        except Refusal as refusal:
            if refusal.code == "BucketNotEmpty":
                return False
            if refusal.code not in GONE:
                raise self._explained(refusal) from refusal
        return True

    async def allow(self, bucket_id: str, key_id: str, permissions: Permissions) -> None:
        """Let a key do more with a bucket: what is False stays as it is."""
        await self._permit("allow", bucket_id, key_id, permissions)

    async def deny(self, bucket_id: str, key_id: str, permissions: Permissions) -> None:
        """Let a key do less with a bucket: what is False stays as it is."""
        await self._permit("deny", bucket_id, key_id, permissions)

    async def _permit(
        self, name: Name, bucket_id: str, key_id: str, permissions: Permissions
    ) -> None:
        body = {"bucketId": bucket_id, "accessKeyId": key_id, "permissions": permissions}
        await self._ask(name, Bucket, body=body)

    # The server.

    async def health(self) -> Health:
        class Answer(msgspec.Struct):
            status: str

        answer = await self._ask("health", Answer)
        return Health(status=answer.status, version=1 if self._dialect is V1 else 2)

    # Asking.

    async def _find(self, name: Name, shape: type[T], query: Mapping[str, str]) -> T | None:
        try:
            return await self._call(name, shape, query=query)
        except Refusal as refusal:
            if refusal.code in GONE:
                return None
            raise self._explained(refusal) from refusal

    async def _delete(self, name: Name, what: str) -> None:
        try:
            await self._call(name, None, query={"id": what})
        except Refusal as refusal:
            if refusal.code not in GONE:
                raise self._explained(refusal) from refusal

    async def _ask(
        self,
        name: Name,
        shape: type[T],
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> T:
        try:
            return await self._call(name, shape, query=query, body=body)
        except Refusal as refusal:
            raise self._explained(refusal) from refusal

    async def _call(
        self,
        name: Name,
        shape: type[T] | None,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> T:
        """Call, and return the answer as `shape`. Raises Refusal for what Garage says no to."""
        method, path = (await self._version())[name]
        answer = await self._send(method, path, query, body)
        if not answer.is_success:
            refusal = _refusal(answer)
            if "API endpoint" in str(refusal) or "no longer supported" in str(refusal):
                self._dialect = None  # another version was started since
                raise Unavailable(f"garage: {self._url} speaks another version now")
            raise refusal
        empty: Any = None
        return empty if shape is None else self._read(answer.content, shape)

    async def _version(self) -> Dialect:
        """Return the newest version of the API that the server has."""
        if self._dialect is None:
            self._dialect = await self._spoken()
        return self._dialect

    async def _spoken(self) -> Dialect:
        for dialect in (V2, V1):
            answer = await self._send(*dialect["health"], None, None)
            if answer.is_success:
                return dialect
            refusal = _refusal(answer)
            if answer.status_code not in {httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND}:
                raise self._explained(refusal)
        raise Rejected(
            f"garage: {self._url} speaks neither version 2 nor 1 of the admin API: is it the"
            " [admin] api_bind_addr of Garage 0.9 or newer?"
        )

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: object
    ) -> httpx.Response:
        """Send a request. Raises Unavailable if it is not answered, or later would be."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._turns:
                answer = await self._client.request(
                    method, path, params=query, content=content, headers=headers
                )
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"garage: {self._url} does not answer: {what}") from error
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise Rejected(
                f"garage: {self._url} refuses the token: [plugins.garage] admin_token has to be"
                " Garage's [admin] admin_token, or one of its own with every scope"
            )
        if answer.is_server_error:
            raise Unavailable(
                f"garage: {self._url}: {_refusal(answer)}; `garage status` tells whether the"
                " cluster has a layout and enough nodes"
            )
        return answer

    def _read(self, content: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=shape)
        except msgspec.DecodeError as error:
            raise Unavailable(f"garage: {self._url} answers what is not its API: {error}") from None

    def _explained(self, refusal: Refusal) -> ProviderError:
        return Rejected(f"garage: {self._url}: {refusal}")


def _refusal(answer: httpx.Response) -> Refusal:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    return Refusal(problem.code, problem.message or f"status {answer.status_code}")
