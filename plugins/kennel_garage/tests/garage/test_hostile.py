"""A tenant that holds all of its credentials, and wants more than is its own."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from kennel_garage import GarageProvisioner

from kennel.domain import Env, Ref, Tenant
from kennel.testing.garage import GarageServer

OURS, THEIRS = Tenant("mallory", Ref.branch("main")), Tenant("shop", Ref.branch("main"))
SITE = {"IndexDocument": {"Suffix": "index.html"}}
RULES = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]}
LIFE = {
    "Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
}


@dataclass(frozen=True, slots=True)
class Scene:
    """`client`: of the hostile tenant; `other`: of its victim, who has an object and an upload."""

    client: Any
    env: Env
    bucket: str
    other: Any
    victim: str
    upload: str


@pytest.fixture
async def scene(garage: GarageProvisioner, s3: Callable[[Env], Any]) -> AsyncIterator[Scene]:
    ours, theirs = await garage.ensure(OURS, {}), await garage.ensure(THEIRS, {})
    bucket, victim = ours["S3_BUCKET"].value, theirs["S3_BUCKET"].value
    other = s3(theirs)
    other.put_object(Bucket=victim, Key="secret", Body=b"treasure")
    upload = other.create_multipart_upload(Bucket=victim, Key="half")["UploadId"]
    s3(ours).put_object(Bucket=bucket, Key="own", Body=b"x")
    yield Scene(s3(ours), ours, bucket, other, victim, upload)
    assert other.get_object(Bucket=victim, Key="secret")["Body"].read() == b"treasure"
    assert [one["Key"] for one in other.list_objects_v2(Bucket=victim)["Contents"]] == ["secret"]
    uploads = other.list_multipart_uploads(Bucket=victim)["Uploads"]
    assert [one["UploadId"] for one in uploads] == [upload]


Attempt = Callable[[Scene], object]

THEFTS: dict[str, Attempt] = {
    "look for the bucket": lambda s: s.client.head_bucket(Bucket=s.victim),
    "list": lambda s: s.client.list_objects_v2(Bucket=s.victim),
    "list as it was": lambda s: s.client.list_objects(Bucket=s.victim),
    "read": lambda s: s.client.get_object(Bucket=s.victim, Key="secret"),
    "look": lambda s: s.client.head_object(Bucket=s.victim, Key="secret"),
    "write": lambda s: s.client.put_object(Bucket=s.victim, Key="secret", Body=b"x"),
    "write something new": lambda s: s.client.put_object(Bucket=s.victim, Key="new", Body=b"x"),
    "delete": lambda s: s.client.delete_object(Bucket=s.victim, Key="secret"),
    "delete many": lambda s: s.client.delete_objects(
        Bucket=s.victim, Delete={"Objects": [{"Key": "secret"}]}
    ),
    "copy from there": lambda s: s.client.copy_object(
        Bucket=s.bucket, Key="stolen", CopySource={"Bucket": s.victim, "Key": "secret"}
    ),
    "copy to there": lambda s: s.client.copy_object(
        Bucket=s.victim, Key="secret", CopySource={"Bucket": s.bucket, "Key": "own"}
    ),
    "copy a part from there": lambda s: s.client.upload_part_copy(
        Bucket=s.bucket,
        Key="stolen",
        PartNumber=1,
        UploadId=s.client.create_multipart_upload(Bucket=s.bucket, Key="stolen")["UploadId"],
        CopySource={"Bucket": s.victim, "Key": "secret"},
    ),
    "begin an upload": lambda s: s.client.create_multipart_upload(Bucket=s.victim, Key="x"),
    "go on with an upload": lambda s: s.client.upload_part(
        Bucket=s.victim, Key="half", UploadId=s.upload, PartNumber=1, Body=b"x"
    ),
    "list the parts": lambda s: s.client.list_parts(Bucket=s.victim, Key="half", UploadId=s.upload),
    "list the uploads": lambda s: s.client.list_multipart_uploads(Bucket=s.victim),
    "abort an upload": lambda s: s.client.abort_multipart_upload(
        Bucket=s.victim, Key="half", UploadId=s.upload
    ),
    "drop": lambda s: s.client.delete_bucket(Bucket=s.victim),
    "make it public": lambda s: s.client.put_bucket_website(
        Bucket=s.victim, WebsiteConfiguration=SITE
    ),
    "open it to browsers": lambda s: s.client.put_bucket_cors(
        Bucket=s.victim, CORSConfiguration=RULES
    ),
    "let it age": lambda s: s.client.put_bucket_lifecycle_configuration(
        Bucket=s.victim, LifecycleConfiguration=LIFE
    ),
    "take its name": lambda s: s.client.create_bucket(Bucket=s.victim),
    "make a bucket": lambda s: s.client.create_bucket(Bucket="mine"),
    "make its own public": lambda s: s.client.put_bucket_website(
        Bucket=s.bucket, WebsiteConfiguration=SITE
    ),
    "open its own to browsers": lambda s: s.client.put_bucket_cors(
        Bucket=s.bucket, CORSConfiguration=RULES
    ),
    "drop its own": lambda s: s.client.delete_bucket(Bucket=s.bucket),
}


@pytest.mark.parametrize("theft", THEFTS.values(), ids=THEFTS)
async def test_a_tenant_cannot(scene: Scene, theft: Attempt) -> None:
    with pytest.raises(scene.client.exceptions.ClientError) as error:
        theft(scene)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 403, 404, 409}


async def test_it_sees_no_bucket_but_its_own(scene: Scene) -> None:
    listed = scene.client.list_buckets()["Buckets"]
    assert {one["Name"] for one in listed} == {scene.bucket}


async def test_what_it_signs_opens_nothing_of_others(scene: Scene) -> None:
    for operation in ("get_object", "put_object", "delete_object"):
        url = scene.client.generate_presigned_url(
            operation, Params={"Bucket": scene.victim, "Key": "secret"}
        )
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.request(operation.partition("_")[0].upper(), url)
        assert answer.status_code == 403
    form = scene.client.generate_presigned_post(scene.victim, "new")
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(form["url"], data=form["fields"], files={"file": b"x"})
    assert answer.status_code == 403


async def test_nothing_is_there_for_who_has_no_key_or_another_ones(
    scene: Scene, server: GarageServer
) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        anybody = await http.get(f"{server.s3}/{scene.victim}/secret")
        site = await http.get(
            f"{server.web}/secret", headers={"Host": f"{scene.victim}.web.localhost"}
        )
        secret = scene.env["AWS_SECRET_ACCESS_KEY"].value
        admin = await http.get(
            f"{server.admin}/v2/ListKeys", headers={"Authorization": f"Bearer {secret}"}
        )
    assert (anybody.status_code, site.status_code, admin.status_code) == (403, 404, 403)
