"""What is in a bucket: taken away, page by page, as the admin API cannot. It speaks S3."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kennel.domain import Secret
from kennel.errors import Unavailable
from kennel.plugin.threads import in_thread

Client: TypeAlias = Any
"""boto3 makes its clients as it goes: there is no type."""

SPEECH = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 3},
)
PAGE = 1000
"""Objects that S3 removes with one call, at most."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """With what S3 is spoken."""

    key_id: str
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    """Where it is spoken."""

    endpoint: str
    region: str

    def by(self, credentials: Credentials) -> "Access":
        return Access(self, credentials)


@dataclass(frozen=True, slots=True)
class Access:
    """Where and with what it is spoken."""

    s3: S3
    credentials: Credentials

    def client(self) -> Client:
        return boto3.client(
            "s3",
            endpoint_url=self.s3.endpoint,
            region_name=self.s3.region,
            aws_access_key_id=self.credentials.key_id,
            aws_secret_access_key=self.credentials.secret.value,
            config=SPEECH,
        )


async def empty(access: Access, bucket: str, tell: Callable[[int], None]) -> None:
    """Remove every object and every upload that is under way. Raises Unavailable.

    `tell`: is given the number of objects that were removed so far, after each page.
    """
    client = await in_thread(access.client)
    try:
        with _spoken(access.s3.endpoint):
            removed = 0
            while page := await in_thread(_remove_objects, client, bucket):
                removed += page
                tell(removed)
            while await in_thread(_abort_uploads, client, bucket):
                pass
    finally:
        client.close()


def _remove_objects(client: Client, bucket: str) -> int:
    """Remove the first objects. Return how many those were."""
    found = client.list_objects_v2(Bucket=bucket, MaxKeys=PAGE).get("Contents", [])
    if found:
        objects = [{"Key": one["Key"]} for one in found]
        done = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        _refuse_rest(done)
    return len(found)


def _refuse_rest(done: Mapping[str, Any]) -> None:
    """Raise Unavailable where Garage kept something: else the same page came for ever."""
    for one in done.get("Errors", []):
        raise Unavailable(f"garage: an object cannot be removed: {one.get('Code', '?')}")


def _abort_uploads(client: Client, bucket: str) -> int:
    """Abort the first uploads. Return how many those were."""
    found = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    for one in found:
        client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
    return len(found)


@contextmanager
def _spoken(endpoint: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(
            f"garage: cannot empty a bucket at {endpoint}: {error}; [plugins.garage] endpoint and"
            " region have to be those of Garage's [s3_api]"
        ) from error
