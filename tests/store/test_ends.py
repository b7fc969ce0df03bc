"""What is left in the store of refs, projects and builds that are over."""

from functools import partial

import pytest
import sqlalchemy as sa

from kennel.domain import Manifest, Ref, Repository, Service, Tenant
from kennel.domain.record import Project, TenantRecord
from kennel.errors import Conflict
from kennel.store import Store, builds, departures, hosts, projects, releases, tenants
from kennel.store.tables import builds as build_rows
from kennel.store.tables import generations

MAIN, PREVIEW = Ref.branch("main"), Ref.pull_request(42)
DAY = 24 * 3600.0


async def add_project(store: Store, full_name: str = "acme/shop", **more: object) -> Project:
    values = {"forge": "forgejo", "full_name": full_name, "clone_url": "https://x", "now": 1.0}
    return await store.write(partial(projects.register, **{**values, **more}))  # type: ignore[arg-type]


async def see(store: Store, project: Project, ref: Ref) -> TenantRecord:
    await store.write(partial(tenants.seen, project_id=project.id, ref=ref, trusted=True, now=1.0))
    found = await store.read(partial(tenants.find, tenant=Tenant(project.name, ref)))
    assert found
    return found


async def a_build(
    store: Store,
    project: Project,
    ref: Ref,
    commit: int,
    *,
    state: str = "done",
    now: float = 2.0,
) -> int:
    def change(db: sa.Connection) -> int:
        number = builds.queue(
            db,
            project_id=project.id,
            ref=ref,
            commit=f"{commit:040x}",
            trusted=True,
            now=now,
            again=True,
        )
        assert number
        values: dict[str, object] = {"state": state}
        if state in {"done", "built"}:
            values |= {"built_at": now, "manifest": {}, "outputs": {}}
        if state != "built":
            values["finished_at"] = now
        db.execute(sa.update(build_rows).where(build_rows.c.id == number).values(**values))
        return number

    return await store.write(change)


async def gone(store: Store, project: Project, ref: Ref) -> bool:
    return await store.write(partial(tenants.gone, project_id=project.id, ref=ref, now=9.0))


async def all_builds(store: Store) -> set[int]:
    return {build.id for build in await store.read(partial(builds.recent, limit=10_000))}


class TestRefs:
    @pytest.mark.parametrize("ref", [MAIN, PREVIEW])
    async def test_one_of_which_nothing_was_ever_built_leaves_nothing(
        self, store: Store, ref: Ref
    ) -> None:
        shop = await add_project(store)
        await see(store, shop, ref)
        await a_build(store, shop, ref, 1, state="failed")
        assert await gone(store, shop, ref)
        assert await store.read(tenants.every) == []

    async def test_one_that_may_have_resources_stays_until_they_are_gone(
        self, store: Store
    ) -> None:
        shop = await add_project(store)
        await see(store, shop, PREVIEW)
        await a_build(store, shop, PREVIEW, 1, state="built")
        await a_build(store, shop, PREVIEW, 2, state="failed")
        assert await gone(store, shop, PREVIEW)
        [kept] = await store.read(tenants.every)
        assert not kept.wanted

    async def test_the_custom_domains_of_one_that_is_gone_are_free(self, store: Store) -> None:
        service = Service(name="api", package="api", custom_domains=("api.acme.org",))
        manifest = Manifest(services={"api": service})

        async def reserve(name: str) -> list[str]:
            project = await add_project(store, name)
            tenant = await see(store, project, MAIN)
            await a_build(store, project, MAIN, 1)
            found = await store.write(
                partial(
                    hosts.reserve,
                    tenant_id=tenant.id,
                    tenant=tenant.tenant,
                    manifest=manifest,
                    ephemeral="example.net",
                    custom=True,
                    granted=("api.acme.org",),
                )
            )
            return [host.host for host in found]

        await reserve("acme/shop")
        shop = await store.read(partial(projects.by_name, name="shop"))
        await gone(store, shop, MAIN)
        assert await reserve("acme/till") == ["till-main.example.net", "api.acme.org"]

    @pytest.mark.parametrize(
        ("state", "served"),
        [("queued", True), ("built", True), ("done", False), ("failed", False)],
    )
    async def test_what_was_built_once_is_not_there_by_that(
        self, store: Store, state: str, served: bool
    ) -> None:
        shop = await add_project(store)
        tenant = await see(store, shop, PREVIEW)
        await a_build(store, shop, PREVIEW, 1, state=state)
        await a_build(store, shop, MAIN, 1, state="queued")
        assert await store.read(partial(tenants.is_served, tenant_id=tenant.id)) is served

    async def test_what_is_live_is_there(self, store: Store) -> None:
        shop = await add_project(store)
        tenant = await see(store, shop, PREVIEW)
        live = partial(
            releases.go_live,
            tenant_id=tenant.id,
            build_id=await a_build(store, shop, PREVIEW, 1, state="built"),
            host="here",
            services=[],
            sites=[("docs", "/nix/store/x", False)],
            wanted_hosts=[],
            now=3.0,
        )
        assert await store.write(live)
        assert await store.read(partial(tenants.is_served, tenant_id=tenant.id))

    async def test_previews_leave_without_a_trace_and_the_others_stay(self, store: Store) -> None:
        shop, till = await add_project(store), await add_project(store, "acme/till")
        for project in (shop, till):
            for ref in (MAIN, PREVIEW, Ref.branch("fix")):
                await see(store, project, ref)
                await a_build(store, project, ref, 1, state="built")
        await store.write(partial(tenants.leave_previews, project_id=shop.id, now=5.0))
        gone = {str(t.tenant) for t in await store.read(tenants.every) if not t.wanted}
        assert gone == {"shop/pr-42", "shop/fix"}
        assert await store.read(partial(departures.of_project, project_id=shop.id)) == {}

    async def test_the_newest_build_is_one_that_was_not_cancelled(self, store: Store) -> None:
        shop = await add_project(store)
        failed = await a_build(store, shop, MAIN, 1, state="failed")
        await a_build(store, shop, MAIN, 2, state="cancelled")
        only = await a_build(store, shop, PREVIEW, 2, state="cancelled")
        assert {build.id for build in await store.read(builds.latest)} == {failed, only}


class TestProjects:
    async def test_one_that_is_removed_can_be_added_again(self, store: Store) -> None:
        shop = await add_project(store, forge_id="7", token="env:OLD")
        await see(store, shop, MAIN)
        await a_build(store, shop, MAIN, 1)

        def remove(db: sa.Connection) -> None:
            projects.remove(db, "shop")
            tenants.leave(db, project_id=shop.id, now=3.0)
            assert tenants.forget_projects(db) == []
            assert set(departures.of_project(db, shop.id)) == {MAIN}

        await store.write(remove)
        again = await add_project(store, clone_url="https://y", previews=False)
        assert (again.id, again.name, again.removed) == (shop.id, "shop", False)
        assert (again.clone_url, again.token, again.previews) == ("https://y", None, False)
        assert again.forge_id == "7"
        left = await store.read(partial(departures.of_project, project_id=shop.id))
        assert left == {}, "its refs are built again when the repository is looked at"

    async def test_it_keeps_its_name(self, store: Store) -> None:
        shop = await add_project(store)
        await see(store, shop, MAIN)
        await store.write(partial(projects.remove, name="shop"))
        with pytest.raises(Conflict, match="'shop'"):
            await add_project(store, name="till")

    async def test_names_at_a_forge_have_no_case(self, store: Store) -> None:
        """People write what they see; forges answer to any case and send their own."""
        shop = await add_project(store, "acme/shop")
        sent = Repository(forge="forgejo", id="7", full_name="Acme/Shop", clone_url="https://x")
        assert await store.read(partial(projects.matching, repository=sent)) == shop
        with pytest.raises(Conflict, match="registered already"):
            await add_project(store, "ACME/shop")


class TestBuilds:
    async def test_the_newest_of_each_ref_stay(self, store: Store) -> None:
        shop = await add_project(store)
        await see(store, shop, MAIN)
        await see(store, shop, PREVIEW)
        main = [await a_build(store, shop, MAIN, n) for n in range(5)]
        preview = await a_build(store, shop, PREVIEW, 9)
        assert await store.write(partial(builds.prune, keep=3, before=0.0)) == 2
        assert await all_builds(store) == {*main[2:], preview}

    async def test_those_of_refs_that_are_forgotten_go_after_a_time(self, store: Store) -> None:
        shop = await add_project(store)
        old = await a_build(store, shop, PREVIEW, 1, now=DAY)
        new = await a_build(store, shop, Ref.branch("x"), 1, now=3 * DAY)
        assert await store.write(partial(builds.prune, keep=3, before=2 * DAY)) == 1
        assert await all_builds(store) == {new}
        assert old not in await all_builds(store)

    async def test_what_is_in_use_or_on_its_way_stays(self, store: Store) -> None:
        shop = await add_project(store)
        tenant = await see(store, shop, MAIN)
        used, queued, built = (
            await a_build(store, shop, MAIN, 1),
            await a_build(store, shop, MAIN, 2, state="queued"),
            await a_build(store, shop, MAIN, 3, state="built"),
        )
        await store.write(
            partial(
                releases.claim,
                tenant_id=tenant.id,
                tenant=tenant.tenant,
                build_id=used,
                claims=[
                    releases.Claim(
                        service=Service(name="api", package="api"), command=("/x",), digest="d"
                    )
                ],
                host="here",
                ports=range(20000, 20001),
                is_free=lambda _: True,
                now=3.0,
            )
        )
        newest = [await a_build(store, shop, MAIN, n, state="failed") for n in range(4, 6)]
        await store.write(
            lambda db: db.execute(
                sa.update(build_rows).where(build_rows.c.id == queued).values(state="queued")
            )
        )
        await store.write(partial(builds.prune, keep=1, before=99 * DAY))
        assert await all_builds(store) == {used, queued, built, newest[-1]}

    async def test_that_something_was_built_is_not_forgotten(self, store: Store) -> None:
        """Or nobody would know that a ref has resources."""
        shop = await add_project(store)
        await see(store, shop, MAIN)
        await a_build(store, shop, MAIN, 1)
        for number in range(2, 6):
            await a_build(store, shop, MAIN, number, state="failed")
        await store.write(partial(builds.prune, keep=2, before=0.0))
        await gone(store, shop, MAIN)
        assert len(await store.read(tenants.every)) == 1


class TestTheMachine:
    async def claimed(self, store: Store) -> TenantRecord:
        shop = await add_project(store)
        tenant = await see(store, shop, MAIN)
        build = await a_build(store, shop, MAIN, 1, state="built")
        claim = releases.Claim(
            service=Service(name="api", package="api"), command=("/x",), digest="d"
        )
        services = await store.write(
            partial(
                releases.claim,
                tenant_id=tenant.id,
                tenant=tenant.tenant,
                build_id=build,
                claims=[claim],
                host="old",
                ports=range(20000, 20001),
                is_free=lambda _: True,
                now=3.0,
            )
        )
        await store.write(
            partial(
                releases.go_live,
                tenant_id=tenant.id,
                build_id=build,
                host="old",
                services=services,
                sites=[("docs", "/nix/store/x", False)],
                wanted_hosts=[],
                now=4.0,
            )
        )
        return tenant

    async def test_it_may_be_called_something_else(self, store: Store) -> None:
        await self.claimed(store)
        assert await store.read(releases.machines) == {"old"}
        await store.write(partial(releases.rename_machine, old="old", new="new"))
        assert await store.read(releases.machines) == {"new"}

    async def test_nothing_may_be_live_of_a_build(self, store: Store) -> None:
        """A manifest without services and sites leaves nothing live, and breaks nothing."""
        tenant = await self.claimed(store)
        shop = await store.read(partial(projects.by_name, name="shop"))
        build = await a_build(store, shop, MAIN, 2, state="built")
        live = await store.write(
            partial(
                releases.go_live,
                tenant_id=tenant.id,
                build_id=build,
                host="old",
                services=[],
                sites=[],
                wanted_hosts=[],
                now=5.0,
            )
        )
        assert live
        retired = await store.read(lambda db: db.scalars(sa.select(generations.c.retired_at)).all())
        assert retired == [5.0]
