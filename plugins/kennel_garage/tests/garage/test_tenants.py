"""What a tenant gets, keeps and loses; and what a crash leaves."""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from kennel_garage import GarageProvisioner, kennel_provisioners
from kennel_garage.admin import Admin
from kennel_garage.contents import PAGE

from kennel.domain import Env, Ref, Tenant, names
from kennel.errors import ConfigError, Rejected, Unavailable
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host
from kennel.testing.garage import GarageServer

SHOP = Tenant("shop", Ref.branch("main"))
ORIGIN = "https://shop.example.org"
CORS = {"origins": [ORIGIN], "methods": ["GET", "PUT"], "max_age": 600}

MakeGarage = Callable[..., GarageProvisioner]
S3 = Callable[[Env], Any]


def bucket_of(env: Env) -> str:
    return env["S3_BUCKET"].value


def inventory(server: GarageServer) -> tuple[list[Any], list[Any]]:
    return server.ask("ListBuckets"), server.ask("ListKeys")


async def test_a_presigned_url_works(garage: GarageProvisioner, s3: S3) -> None:
    env = await garage.ensure(SHOP, {})
    client, what = s3(env), {"Bucket": bucket_of(env), "Key": "a b/ü.txt"}
    put = client.generate_presigned_url("put_object", Params=what)
    got = client.generate_presigned_url("get_object", Params=what)
    async with httpx.AsyncClient(trust_env=False) as anybody:
        assert (await anybody.put(put, content=b"hello")).status_code == 200
        assert (await anybody.get(got)).content == b"hello"
        assert (await anybody.get(got.partition("?")[0])).status_code == 403


async def test_a_public_bucket_is_a_site_until_it_is_not(
    garage: GarageProvisioner, server: GarageServer, s3: S3
) -> None:
    env = await garage.ensure(SHOP, {"public": True, "error": "404.html"})
    for name in ("index.html", "404.html"):
        s3(env).put_object(Bucket=bucket_of(env), Key=name, Body=name.encode())
    headers = {"Host": f"{bucket_of(env)}.web.localhost"}
    async with httpx.AsyncClient(base_url=server.web, headers=headers, trust_env=False) as anybody:
        assert (await anybody.get("/")).text == "index.html"
        missing = await anybody.get("/nothing")
        assert (missing.status_code, missing.text) == (404, "404.html")
        await garage.ensure(SHOP, {})
        assert (await anybody.get("/")).status_code == 404


async def test_pages_of_other_origins_may_do_what_the_manifest_says(
    garage: GarageProvisioner, server: GarageServer
) -> None:
    env = await garage.ensure(SHOP, {"cors": [CORS]})
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    async with httpx.AsyncClient(base_url=server.s3, trust_env=False) as browser:
        allowed = await browser.options(f"/{bucket_of(env)}/x", headers=asks)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        assert (await garage.ensure(SHOP, {"cors": [CORS]})) == env
        await garage.ensure(SHOP, {})
        forbidden = await browser.options(f"/{bucket_of(env)}/x", headers=asks)
    assert forbidden.status_code == 403


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"publik": True}, "unknown field `publik`"),
        ({"public": "yes"}, "Expected `bool`"),
        ({"cors": [{"origins": []}]}, "length >= 1"),
        ({"cors": [{"origins": ["*"], "methods": ["PATCH"]}]}, "Invalid enum value 'PATCH'"),
    ],
)
async def test_a_wrong_option_is_told_before_anything_is_made(
    garage: GarageProvisioner, options: dict[str, object], why: str
) -> None:
    with pytest.raises(Rejected, match=why) as error:
        garage.check_options(options)
    assert "it takes public = true" in str(error.value)
    with pytest.raises(Rejected, match=why):
        await garage.ensure(SHOP, options)
    assert await garage.observe() == set()


async def test_a_bucket_holds_no_more_than_the_operator_says(make: MakeGarage, s3: S3) -> None:
    async with make(max_objects=1, max_size=1000) as garage:
        env = await garage.ensure(SHOP, {})
        client = s3(env)
        client.put_object(Bucket=bucket_of(env), Key="one", Body=b"x")
        with pytest.raises(client.exceptions.ClientError, match="quota"):
            client.put_object(Bucket=bucket_of(env), Key="two", Body=b"x")
        [one] = await garage.resources()
        assert (one.tenant, one.name, one.size, one.detail) == (
            SHOP,
            bucket_of(env),
            1,
            "1 objects",
        )
    async with make() as garage:
        assert await garage.ensure(SHOP, {}) == env
        client.put_object(Bucket=bucket_of(env), Key="two", Body=b"x")
        await garage.remove(SHOP)


async def test_a_bucket_goes_with_all_that_is_in_it(
    garage: GarageProvisioner,
    server: GarageServer,
    s3: S3,
    capsys: pytest.CaptureFixture[str],
) -> None:
    env = await garage.ensure(SHOP, {})
    client, bucket = s3(env), bucket_of(env)
    many = PAGE + 50
    await asyncio.gather(
        *(
            asyncio.to_thread(client.put_object, Bucket=bucket, Key=f"{n}/ä &?", Body=b"")
            for n in range(many)
        )
    )
    begun = client.create_multipart_upload(Bucket=bucket, Key="half")
    client.upload_part(
        Bucket=bucket, Key="half", UploadId=begun["UploadId"], PartNumber=1, Body=b"x" * 1000
    )
    await garage.remove(SHOP)
    assert inventory(server) == ([], [])
    said = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert "emptying a bucket" in said
    assert f"removed={PAGE} " in said
    assert f"removed={many} " in said
    await garage.ensure(SHOP, {})
    assert server.ask("GetBucketInfo", globalAlias=bucket)["objects"] == 0


async def test_uploads_that_are_under_way_go_too(
    garage: GarageProvisioner, server: GarageServer, s3: S3
) -> None:
    env = await garage.ensure(SHOP, {})
    begun = s3(env).create_multipart_upload(Bucket=bucket_of(env), Key="half")
    await garage.remove(SHOP)
    assert inventory(server) == ([], [])
    with pytest.raises(s3(env).exceptions.ClientError):
        s3(env).upload_part(
            Bucket=bucket_of(env),
            Key="half",
            UploadId=begun["UploadId"],
            PartNumber=1,
            Body=b"x",
        )


async def test_a_bucket_of_that_name_that_is_somebody_elses_is_left_alone(
    garage: GarageProvisioner, server: GarageServer, s3: S3
) -> None:
    name = names.bucket(SHOP)
    theirs = server.ask("CreateKey", {"name": "somebody's"})
    allow = {"read": True, "write": True, "owner": True}
    local = {"accessKeyId": theirs["accessKeyId"], "alias": "mine", "allow": allow}
    bucket = server.ask("CreateBucket", {"globalAlias": name, "localAlias": local})
    with pytest.raises(Rejected, match=f"there is a bucket {name} that is not Kennel's: call it"):
        await garage.ensure(SHOP, {})
    await garage.remove(SHOP)
    buckets, keys = inventory(server)
    assert [one["id"] for one in buckets] == [bucket["id"]]
    assert [one["id"] for one in keys] == [theirs["accessKeyId"]]
    server.ask("DeleteBucket", {}, id=bucket["id"])
    server.ask("DeleteKey", {}, id=theirs["accessKeyId"])


async def test_what_somebody_took_from_it_is_lacking_and_given_again(
    garage: GarageProvisioner, server: GarageServer
) -> None:
    env = await garage.ensure(SHOP, {})
    server.ask("DeleteKey", {}, id=env["AWS_ACCESS_KEY_ID"].value)
    assert await garage.lacking([SHOP]) == {SHOP}
    again = await garage.ensure(SHOP, {})
    assert again["AWS_ACCESS_KEY_ID"] != env["AWS_ACCESS_KEY_ID"]
    assert await garage.lacking([SHOP]) == set()


async def test_a_hundred_tenants_at_once_have_a_bucket_and_a_key_each(
    garage: GarageProvisioner, server: GarageServer
) -> None:
    tenants = [Tenant("many", Ref.pull_request(n)) for n in range(1, 101)]
    envs = await asyncio.gather(*(garage.ensure(tenant, {}) for tenant in tenants))
    assert len({bucket_of(env) for env in envs}) == len(tenants)
    assert len({env["AWS_ACCESS_KEY_ID"].value for env in envs}) == len(tenants)
    assert await garage.observe() == set(tenants)
    assert await garage.lacking(tenants) == set()
    await asyncio.gather(*(garage.remove(tenant) for tenant in tenants))
    assert inventory(server) == ([], [])


async def test_an_idle_look_is_one_request(
    garage: GarageProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await garage.ensure(SHOP, {})
    asked = list[str]()
    send = Admin._send

    async def noted(self: Admin, method: str, path: str, *more: Any) -> httpx.Response:
        asked.append(path)
        return await send(self, method, path, *more)

    monkeypatch.setattr(Admin, "_send", noted)
    assert await garage.lacking([SHOP, Tenant("shop", Ref.branch("x"))])
    assert asked == ["/v2/ListBuckets"]


class Killed(BaseException):
    """Kennel was, between two calls."""


@pytest.mark.parametrize("what", ["ensure", "remove"])
async def test_whatever_call_was_the_last_the_next_start_goes_on(
    make: MakeGarage, server: GarageServer, s3: S3, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Nothing is leaked and nothing lost. Kennel is killed when Garage has answered."""
    send, left = Admin._send, 0

    async def killed_after_some(self: Admin, *words: Any) -> httpx.Response:
        nonlocal left
        answer = await send(self, *words)
        left -= 1
        if left == 0:
            raise Killed
        return answer

    calls = 0
    while True:
        calls += 1
        async with make() as garage:
            if what == "remove":
                env = await garage.ensure(SHOP, {})
                s3(env).put_object(Bucket=bucket_of(env), Key="a", Body=b"x")
            with monkeypatch.context() as patched:
                left = calls
                patched.setattr(Admin, "_send", killed_after_some)
                try:
                    await (garage.ensure(SHOP, {}) if what == "ensure" else garage.remove(SHOP))
                except Killed:
                    pass
                else:
                    break
            if inventory(server) != ([], []):
                assert await garage.observe() == {SHOP}
        async with make() as garage:
            if what == "ensure":
                env = await garage.ensure(SHOP, {})
                assert len(inventory(server)[0]) == len(inventory(server)[1]) == 1
                s3(env).put_object(Bucket=bucket_of(env), Key="a", Body=b"x")
            await garage.remove(SHOP)
            assert inventory(server) == ([], [])
    assert calls > 4
    async with make() as garage:
        await garage.remove(SHOP)


async def test_its_health_says_what_to_do(
    make: MakeGarage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make() as garage:
        await garage.check()
    async with make(region="nowhere") as garage:
        with pytest.raises(Rejected, match=r'is "garage", not "nowhere": set \[plugins.garage\]'):
            await garage.check()
    async with make(endpoint="http://127.0.0.1:9") as garage:
        with pytest.raises(Unavailable, match="nobody speaks S3 at http://127"):
            await garage.check()
    monkeypatch.setenv("OTHER", "wrong")
    async with make(admin_token="env:OTHER") as garage:
        with pytest.raises(Rejected, match=r"refuses the token: \[plugins.garage\] admin_t"):
            await garage.check()
    async with make(admin_url=make()._config.endpoint) as garage:
        with pytest.raises((Rejected, Unavailable), match="admin"):
            await garage.check()


def test_what_cannot_be_a_token_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(kennel_provisioners(PluginSettings({}, host))) == []
    with pytest.raises(ConfigError, match=r"\[plugins.garage\]: the key 'admin_token' is missing"):
        kennel_provisioners(PluginSettings({"garage": {}}, host))
    monkeypatch.setenv("TOKEN", "two\nlines")
    table = {"garage": {"admin_token": "env:TOKEN"}}
    with pytest.raises(ConfigError, match="admin_token: it is not one line of ASCII"):
        kennel_provisioners(PluginSettings(table, host))
    with pytest.raises(ConfigError, match="must be written like") as error:
        kennel_provisioners(PluginSettings({"garage": {"admin_token": "hunter2"}}, host))
    assert "hunter2" not in str(error.value)


async def test_no_secret_is_in_what_it_says(
    garage: GarageProvisioner, server: GarageServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    env = await garage.ensure(SHOP, {})
    await garage.remove(SHOP)
    assert env["AWS_SECRET_ACCESS_KEY"].value not in caplog.text
    assert server.token not in caplog.text
