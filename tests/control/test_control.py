"""What people may ask of the daemon."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from kennel.build.places import Places
from kennel.domain import Ref, Tenant
from kennel.errors import ConfigError, Conflict, NotFound, Unavailable
from kennel.store import builds, tenants
from kennel.store.tables import builds as build_rows

if TYPE_CHECKING:
    from tests.control.conftest import Office

URL = "https://git.example/acme/shop.git"


class TestProjects:
    @pytest.mark.parametrize(
        ("url", "more", "why"),
        [
            (URL, {"forge": "gitlab"}, "forge: no 'gitlab' here; there is: forgejo, gitea, github"),
            (URL, {"domains": ["https://x"]}, "domain: 'https://x' is no host name"),
            ("https://ada:hunter2@git.example/acme/shop", {}, "url: has a password in it"),
        ],
    )
    async def test_what_could_never_work_is_not_taken(
        self, office: "Office", url: str, more: dict[str, object], why: str
    ) -> None:
        with pytest.raises(ConfigError) as error:
            await office.add(url, **more)
        assert str(error.value).startswith(why)
        assert "hunter2" not in str(error.value)
        assert await office.control.projects() == []

    async def test_one_is_added_and_listed(self, office: "Office") -> None:
        added = await office.add(domains=["shop.example"])
        assert (added.name, added.full_name, added.refs) == ("shop", "acme/shop", 0)
        assert await office.control.projects() == [added]

    @pytest.mark.parametrize("key", ["secret", "token", "ssh_key"])
    async def test_a_secret_itself_is_refused_and_not_repeated(
        self, office: "Office", key: str
    ) -> None:
        with pytest.raises(ConfigError, match=f'{key}: give a reference, "env:NAME"') as caught:
            await office.add(**{key: "hunter2"})
        assert "hunter2" not in str(caught.value)
        assert await office.control.projects() == []

    async def test_a_token_and_a_key_are_one_too_many(self, office: "Office") -> None:
        with pytest.raises(ConfigError, match="not both"):
            await office.add(token="env:T", ssh_key="file:/k")

    async def test_the_same_one_twice_is_a_conflict(self, office: "Office") -> None:
        await office.add()
        with pytest.raises(Conflict, match="'shop'"):
            await office.add()

    async def test_one_that_has_nothing_is_gone_when_it_is_removed(self, office: "Office") -> None:
        await office.add()
        await office.control.remove_project("shop")
        assert await office.control.projects() == []
        await office.add()

    async def test_one_that_has_something_is_taken_down_and_production_kept(
        self, office: "Office"
    ) -> None:
        await office.add()
        await office.live("main")
        await office.live("fix")
        await office.control.remove_project("shop")
        assert "changed" in office.woken
        with pytest.raises(Conflict, match="being removed"):
            await office.deploy()
        async with asyncio.timeout(20):
            await office.reconciler.settled()
        assert await office.supervisor.observe() == {}
        [line] = await office.control.status(None)
        assert (line.ref, line.state) == ("main", "kept")
        [project] = await office.control.projects()
        assert project.removed
        assert not (await office.add()).removed
        await office.live("main", version=2)

    async def test_one_that_is_not_there_is_not_found(self, office: "Office") -> None:
        await office.add()
        for asked in (
            office.control.remove_project("nope"),
            office.control.status("nope"),
            office.control.builds("nope", None, 5),
            office.deploy(project="nope"),
            office.control.unit_logs("nope", "main", None, 5),
        ):
            with pytest.raises(NotFound, match=r"'nope'; there is: shop"):
                await asked


class TestBuilds:
    async def test_a_ref_is_built_again_and_the_newest_wins(self, office: "Office") -> None:
        await office.add()
        first, second = await office.deploy(), await office.deploy()
        assert (await office.control.build(first.id)).state == "cancelled"
        assert (second.state, second.commit, second.environment) == ("queued", "", "prod")
        assert [one.id for one in await office.control.builds("shop", "main", 5)] == [
            second.id,
            first.id,
        ]
        assert office.woken == ["changed", "changed"]

    @pytest.mark.parametrize("ref", ["", "a..b", "refs/tags/v1", "a b", "-x\0"])
    async def test_what_cannot_be_a_ref_is_refused(self, office: "Office", ref: str) -> None:
        await office.add()
        with pytest.raises(ValueError):
            await office.deploy(ref)
        assert await office.store.read(tenants.every) == []

    @pytest.mark.parametrize(
        ("ref", "trusted"), [("main", True), ("heads/pr-7", True), ("pr-7", False)]
    )
    async def test_a_pull_request_nobody_told_us_of_is_not_trusted(
        self, office: "Office", ref: str, trusted: bool
    ) -> None:
        await office.add()
        assert (await office.deploy(ref)).trusted is trusted

    async def test_one_that_is_known_keeps_its_trust(self, office: "Office") -> None:
        await office.add()
        ref = Ref.pull_request(7)
        seen = partial(tenants.seen, project_id=1, ref=ref, trusted=True, now=1.0)
        await office.store.write(seen)
        assert (await office.deploy("pr-7")).trusted

    async def test_one_is_cancelled_once(self, office: "Office") -> None:
        await office.add()
        number = (await office.deploy()).id
        assert (await office.control.cancel(number)).state == "cancelled"
        with pytest.raises(Conflict, match="is cancelled already"):
            await office.control.cancel(number)
        with pytest.raises(NotFound, match="no build 99"):
            await office.control.cancel(99)

    async def test_only_what_is_live_has_urls(self, office: "Office") -> None:
        await office.add()
        first = await office.live()
        second = await office.live(version=2)
        assert (await office.control.build(first)).urls == []
        assert set((await office.control.build(second)).urls) == {
            "http://shop-main.example.net",
            "http://shop-docs-main.example.net",
        }

    async def test_a_log_is_followed_until_its_build_is_over(self, office: "Office") -> None:
        await office.add()
        number = (await office.deploy()).id
        places = Places.of(office.control.settings)
        places.prepare()
        places.log(number).write_text("one\n")

        async def read() -> bytes:
            return b"".join(
                [piece async for piece in office.control.build_log(number, follow=True)]
            )

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        assert not reading.done()
        with places.log(number).open("a") as log:
            log.write("two\n")
        await office.control.cancel(number)
        async with asyncio.timeout(10):
            assert await reading == b"one\ntwo\n"


class TestLooking:
    async def test_a_plan_tells_what_the_next_pass_would_do(self, office: "Office") -> None:
        await office.add()
        await office.live()
        assert await office.control.plan() == []
        [unit] = await office.supervisor.observe()
        await office.supervisor.remove(unit)
        [step] = await office.control.plan()
        assert (step.tenant, step.step) == ("shop/main", "start")
        assert unit in step.why
        await office.store.write(
            lambda db: tenants.gone(db, project_id=1, ref=Ref.branch("main"), now=9.0)
        )
        assert {one.step for one in await office.control.plan()} == {"publish", "close", "stop"}

    async def test_logs_are_those_of_the_services(self, office: "Office") -> None:
        await office.add()
        await office.live()
        assert await office.control.unit_logs("shop", "main", None, 5) == ["probe: serves"]
        with pytest.raises(NotFound, match=r"no service docs of shop/main is live; there is: api"):
            await office.control.unit_logs("shop", "main", "docs", 5)
        with pytest.raises(NotFound, match=r"no service of shop/nope is live; there is: none"):
            await office.control.unit_logs("shop", "nope", None, 5)

    async def test_health_names_what_is_wrong(self, office: "Office") -> None:
        office.supervisor.problem = Unavailable("no bus")
        health = await office.control.health()
        assert [(one.kind, one.problem) for one in health.providers] == [
            ("supervisor", "no bus"),
            ("router", ""),
            *[("forge", "")] * 3,
        ]

    async def test_status_of_a_project_is_its_own(self, office: "Office") -> None:
        await office.add()
        await office.add("https://git.example/acme/till.git")
        await office.live()
        await office.deploy(project="till")
        assert {line.project for line in await office.control.status(None)} == {"shop", "till"}
        assert {line.name for line in await office.control.status("shop")} == {"api", "docs"}
        [line] = await office.control.status("till")
        assert line.state == "queued"

    async def test_plugins_are_those_installed(self, office: "Office") -> None:
        found = {one.name: one.on for one in await office.control.plugins()}
        assert found["process"]
        assert not found["systemd"]


async def test_a_ref_that_was_never_built_leaves_no_line(office: "Office") -> None:
    """What the worker does when it finds that a ref is not there."""
    await office.add()
    number = (await office.deploy("nope")).id

    def change(db: sa.Connection) -> None:
        builds.cancelled(db, number, reason="nope is gone", now=2.0)
        tenants.gone(db, project_id=1, ref=Ref.branch("nope"), now=2.0)

    await office.store.write(change)
    assert await office.control.status(None) == []
    assert (await office.control.build(number)).reason == "nope is gone"
    rows = await office.store.read(lambda db: db.execute(sa.select(build_rows)).all())
    assert len(rows) == 1
    assert Tenant("shop", Ref.branch("nope")) not in {
        one.tenant for one in await office.store.read(tenants.every)
    }
