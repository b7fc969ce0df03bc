"""What the store promises, on SQLite and on PostgreSQL alike."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from kennel.domain import Manifest, Outputs, Ref, Repository, Service, Site, Tenant
from kennel.domain.delivery import NewDelivery
from kennel.domain.record import Project, TenantRecord
from kennel.errors import ConfigError, Conflict, NotFound, Rejected, Unavailable
from kennel.plan import Generation
from kennel.store import Store, builds, hosts, inbox, projects, releases, snapshot, tenants
from kennel.store.tables import generations, metadata
from kennel.store.tables import hosts as host_rows

MAIN = Ref.branch("main")
ONE, TWO, THREE = ("1" * 40, "2" * 40, "3" * 40)


async def add_project(store: Store, full_name: str = "acme/shop", **more: object) -> Project:
    values = {
        "forge": "forgejo",
        "full_name": full_name,
        "clone_url": f"https://git.example/{full_name}.git",
        "now": 1.0,
        **more,
    }
    return await store.write(partial(projects.register, **values))  # type: ignore[arg-type]


async def see(store: Store, project: Project, ref: Ref = MAIN) -> TenantRecord:
    await store.write(partial(tenants.seen, project_id=project.id, ref=ref, trusted=True, now=1.0))
    found = await store.read(partial(tenants.find, tenant=Tenant(project.name, ref)))
    assert found is not None
    return found


async def queue(
    store: Store, project: Project, commit: str, ref: Ref = MAIN, *, again: bool = False
) -> int | None:
    return await store.write(
        partial(
            builds.queue,
            project_id=project.id,
            ref=ref,
            commit=commit,
            trusted=True,
            now=2.0,
            again=again,
        )
    )


async def state(store: Store, build: int | None) -> str:
    assert build is not None
    return (await store.read(partial(builds.get, build_id=build))).state


async def claim(store: Store, now: float = 3.0) -> builds.Claimed | None:
    return await store.write(partial(builds.claim, now=now))


async def make_built(store: Store, build: int, manifest: Manifest | None = None) -> bool:
    manifest = manifest or Manifest(sites={"docs": Site(name="docs", package="docs")})
    outputs = Outputs(paths={"docs": "/nix/store/x-docs"})
    return await store.write(
        partial(builds.built, build_id=build, manifest=manifest, outputs=outputs, now=4.0)
    )


class TestTheDatabase:
    async def test_the_migrations_make_the_tables_the_code_has(self, store: Store) -> None:
        def difference(db: sa.Connection) -> list[object]:
            return list(compare_metadata(MigrationContext.configure(db), metadata))

        assert await store.read(difference) == []

    async def test_opening_twice_changes_nothing(self, database_url: str) -> None:
        for _ in range(2):
            store = Store(database_url)
            await store.open()
            await store.close()

    async def test_a_change_that_raises_changes_nothing(self, store: Store) -> None:
        def half(db: sa.Connection) -> None:
            projects.register(
                db, now=1.0, forge="forgejo", full_name="acme/shop", clone_url="https://x"
            )
            raise RuntimeError("half way")

        with pytest.raises(RuntimeError, match="half way"):
            await store.write(half)
        assert await store.read(projects.every) == []

    async def test_sqlite_is_set_up_for_durability(self, tmp_path: Path) -> None:
        store = Store(f"sqlite:///{tmp_path}/k.db")
        await store.open()

        def pragmas(db: sa.Connection) -> list[object]:
            wanted = ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
            return [db.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted]

        assert await store.read(pragmas) == ["wal", 1, 10_000, 2]
        await store.close()

    async def test_a_writer_waits_for_another_process(self, tmp_path: Path) -> None:
        store = Store(f"sqlite:///{tmp_path}/k.db")
        await store.open()
        other = sqlite3.connect(tmp_path / "k.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(add_project(store))
        await asyncio.sleep(0.2)
        assert not writing.done()
        other.execute("COMMIT")
        other.close()
        assert (await writing).name == "shop"
        await store.close()

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("nonsense", "not a database URL"),
            ("mysql://x/y", "mysql"),
            ("sqlite:////no/such/folder/k.db", "cannot use sqlite:////no/such/folder/k.db"),
            ("postgresql://u:hunter2@127.0.0.1:1/x", "cannot use postgresql"),
        ],
    )
    async def test_a_database_that_cannot_be_used_is_a_config_error(
        self, url: str, words: str
    ) -> None:
        with pytest.raises(ConfigError, match=words) as caught:
            await Store(url).open()
        assert "hunter2" not in str(caught.value)


class TestProjects:
    async def test_names_come_from_the_repository_then_from_its_owner(self, store: Store) -> None:
        assert (await add_project(store, "acme/Shop")).name == "shop"
        assert (await add_project(store, "other/shop")).name == "other-shop"
        with pytest.raises(Conflict, match="choose a name"):
            await add_project(store, "other/_shop")

    async def test_a_repository_is_registered_once(self, store: Store) -> None:
        await add_project(store)
        with pytest.raises(Conflict, match="'shop'"):
            await add_project(store)

    async def test_a_name_that_is_no_label_is_refused(self, store: Store) -> None:
        with pytest.raises(Conflict, match="a-z"):
            await add_project(store, name="Not A Name")

    async def test_an_unknown_project_is_not_found_with_a_list(self, store: Store) -> None:
        await add_project(store)
        with pytest.raises(NotFound, match=r"'nope'.*shop"):
            await store.read(partial(projects.by_name, name="nope"))

    async def test_a_repository_is_known_by_its_id_and_not_by_its_name(self, store: Store) -> None:
        project = await add_project(store)
        first = Repository(forge="forgejo", id="7", full_name="acme/shop", clone_url="https://x")
        found = await store.read(partial(projects.matching, repository=first))
        assert found == project
        await store.write(partial(projects.learn, project=project, repository=first))
        renamed = Repository(forge="forgejo", id="7", full_name="acme/till", clone_url="https://x")
        impostor = Repository(forge="forgejo", id="8", full_name="acme/shop", clone_url="https://x")
        elsewhere = Repository(forge="github", id="7", full_name="acme/shop", clone_url="https://x")
        assert await store.read(partial(projects.matching, repository=renamed)) is not None
        assert await store.read(partial(projects.matching, repository=impostor)) is None
        assert await store.read(partial(projects.matching, repository=elsewhere)) is None


class TestTheQueue:
    async def test_the_same_commit_is_queued_once(self, store: Store) -> None:
        shop = await add_project(store)
        assert await queue(store, shop, ONE) is not None
        assert await queue(store, shop, ONE) is None
        assert await queue(store, shop, ONE, again=True) is not None

    async def test_a_newer_commit_cancels_what_is_queued_and_building(self, store: Store) -> None:
        shop = await add_project(store)
        first = await queue(store, shop, ONE)
        claimed = await claim(store)
        assert claimed is not None
        assert claimed.build.id == first
        second = await queue(store, shop, TWO)
        assert await state(store, first) == "cancelled"
        assert not await store.read(partial(builds.wanted, build_id=first))
        third = await queue(store, shop, THREE)
        assert [await state(store, b) for b in (second, third)] == ["cancelled", "queued"]

    async def test_what_a_person_called_off_does_not_come_back_with_a_replay(
        self, store: Store
    ) -> None:
        shop = await add_project(store)
        numbers = []
        for commit in (ONE, TWO, THREE):
            await queue(store, shop, commit)
            claimed = await claim(store)
            assert claimed is not None
            numbers.append(claimed.build.id)
            assert await make_built(store, numbers[-1])
            if commit != THREE:
                assert await store.write(partial(builds.done, build_id=numbers[-1], now=5.0))
        assert await store.write(partial(builds.again, build_id=numbers[0], now=6.0))
        assert [await state(store, n) for n in numbers] == ["built", "done", "cancelled"]
        assert await queue(store, shop, THREE) is None
        assert await queue(store, shop, TWO) is not None, "somebody went back to it"

    async def test_what_was_live_before_the_ref_left_is_built_again(self, store: Store) -> None:
        """The ref is back at another commit, and forced to what it was at once."""
        shop = await add_project(store)
        await queue(store, shop, ONE)
        claimed = await claim(store)
        assert claimed is not None
        assert await make_built(store, claimed.build.id)
        assert await store.write(partial(builds.done, build_id=claimed.build.id, now=5.0))
        back = await queue(store, shop, TWO, again=True)
        assert back is not None
        superseded = partial(builds.cancelled, build_id=back, reason="superseded", now=6.0)
        assert await store.write(superseded)
        assert await queue(store, shop, ONE) is not None

    async def test_one_build_per_ref_at_a_time(self, store: Store) -> None:
        shop = await add_project(store)
        await queue(store, shop, ONE)
        await claim(store)
        await queue(store, shop, TWO, Ref.branch("dev"))
        assert (again := await claim(store)) is not None
        assert again.build.tenant.ref == Ref.branch("dev")
        assert await claim(store) is None

    async def test_projects_take_turns(self, store: Store) -> None:
        noisy, quiet = await add_project(store, "a/noisy"), await add_project(store, "a/quiet")
        for number in range(4):
            await queue(store, noisy, f"{number:040x}", Ref.branch(f"b{number}"))
        await queue(store, quiet, ONE)
        order = [await claim(store, now=float(n)) for n in range(10, 13)]
        assert [one.project.name for one in order if one] == ["noisy", "quiet", "noisy"]

    async def test_what_was_building_is_queued_again_after_a_crash(self, store: Store) -> None:
        shop = await add_project(store)
        build = await queue(store, shop, ONE)
        await claim(store)
        assert await store.write(builds.recover) == [build]
        assert await state(store, build) == "queued"
        assert await store.write(builds.recover) == []

    async def test_a_cancelled_build_cannot_come_back_as_built(self, store: Store) -> None:
        shop = await add_project(store)
        build = await queue(store, shop, ONE)
        await claim(store)
        await queue(store, shop, TWO)
        assert build is not None
        assert not await make_built(store, build)
        assert await state(store, build) == "cancelled"

    async def test_of_two_that_wait_to_be_deployed_the_newer_is_left(self, store: Store) -> None:
        shop = await add_project(store)
        first = await queue(store, shop, ONE)
        await claim(store)
        assert first is not None
        assert await make_built(store, first)
        second = await queue(store, shop, TWO)
        assert await state(store, first) == "built"  # it may still go live meanwhile
        await claim(store)
        assert second is not None
        assert await make_built(store, second)
        assert await state(store, first) == "cancelled"

    async def test_the_database_itself_refuses_two_builds_of_a_ref(self, store: Store) -> None:
        shop = await add_project(store)
        await queue(store, shop, ONE)
        await claim(store)
        await queue(store, shop, ONE, again=True)

        def force(db: sa.Connection) -> None:
            db.execute(sa.text("UPDATE builds SET state = 'building'"))

        with pytest.raises(IntegrityError):
            await store.write(force)

    async def test_two_workers_never_claim_the_same_build(self, store: Store) -> None:
        shop = await add_project(store)
        for number in range(10):
            await queue(store, shop, f"{number + 1:040x}", Ref.branch(f"b{number}"))
        claimed = await asyncio.gather(*(claim(store) for _ in range(12)))
        ids = [one.build.id for one in claimed if one]
        assert len(ids) == len(set(ids)) == 10


class TestGoingLive:
    async def live(
        self,
        store: Store,
        commit: str = ONE,
        services: tuple[str, ...] = ("api",),
        *,
        meanwhile: Callable[[int], Awaitable[object]] | None = None,
    ) -> tuple[int, list[Generation], bool]:
        listed = await store.read(projects.every)
        shop = listed[0] if listed else await add_project(store)
        tenant = await see(store, shop)
        build = await queue(store, shop, commit)
        assert build is not None
        await claim(store)
        manifest = Manifest(services={n: Service(name=n, package=n) for n in services})
        await make_built(store, build, manifest)
        held = await store.write(
            partial(
                hosts.reserve,
                tenant_id=tenant.id,
                tenant=tenant.tenant,
                manifest=manifest,
                ephemeral="example.net",
                custom=True,
                granted=(),
            )
        )
        claims = [
            releases.Claim(service=s, command=("/bin/x",), digest=f"{commit}{s.name}")
            for s in manifest.services.values()
        ]
        chosen = await store.write(
            partial(
                releases.claim,
                tenant_id=tenant.id,
                tenant=tenant.tenant,
                build_id=build,
                claims=claims,
                host="here",
                ports=range(20000, 20010),
                is_free=lambda _: True,
                now=5.0,
            )
        )
        if meanwhile:
            await meanwhile(build)
        gone_live = await store.write(
            partial(
                releases.go_live,
                tenant_id=tenant.id,
                build_id=build,
                host="here",
                services=chosen,
                sites=[],
                wanted_hosts=held,
                now=6.0,
            )
        )
        return build, chosen, gone_live

    async def test_what_is_replaced_is_retired(self, store: Store) -> None:
        _, old, _ = await self.live(store, ONE)
        build, new, live = await self.live(store, TWO)
        assert live
        assert await state(store, build) == "done"
        [wanted] = await store.read(partial(snapshot.wanted, host="here"))
        assert [d.generation for d in wanted.live] == [new[0]]
        assert {g.id: g.retired_at for g in wanted.generations} == {old[0].id: 6.0, new[0].id: None}
        assert old[0].port != new[0].port

    async def test_the_same_digest_is_the_same_generation(self, store: Store) -> None:
        _, one, _ = await self.live(store, ONE)
        await self.live(store, TWO)
        shop = (await store.read(projects.every))[0]
        tenant = await see(store, shop)
        again = await store.write(
            partial(
                releases.claim,
                tenant_id=tenant.id,
                tenant=tenant.tenant,
                build_id=1,
                claims=[
                    releases.Claim(
                        service=one[0].service, command=("/bin/x",), digest=one[0].digest
                    )
                ],
                host="here",
                ports=range(20000, 20010),
                is_free=lambda _: True,
                now=9.0,
            )
        )
        assert again[0].id == one[0].id
        assert again[0].retired_at is None

    async def test_a_cancelled_build_does_not_go_live(self, store: Store) -> None:
        await self.live(store, ONE)
        before = await store.read(partial(snapshot.wanted, host="here"))

        async def cancel(build: int) -> None:
            await store.write(partial(builds.cancelled, build_id=build, reason="", now=6.0))

        build, _, live = await self.live(store, TWO, meanwhile=cancel)
        assert not live
        assert await state(store, build) == "cancelled"
        [wanted] = await store.read(partial(snapshot.wanted, host="here"))
        assert wanted.live == before[0].live

    async def test_nothing_is_live_of_a_ref_that_is_gone(self, store: Store) -> None:
        await self.live(store, ONE)
        shop = (await store.read(projects.every))[0]
        await store.write(partial(tenants.gone, project_id=shop.id, ref=MAIN, now=7.0))
        [wanted] = await store.read(partial(snapshot.wanted, host="here"))
        assert wanted.live == ()
        assert not wanted.record.wanted

    async def test_a_ref_that_comes_back_at_the_same_commit_is_built_again(
        self, store: Store
    ) -> None:
        await self.live(store, ONE)
        shop = (await store.read(projects.every))[0]
        assert await queue(store, shop, ONE) is None
        await store.write(partial(tenants.gone, project_id=shop.id, ref=MAIN, now=7.0))
        is_back = partial(tenants.seen, project_id=shop.id, ref=MAIN, trusted=True, now=8.0)
        assert await store.write(is_back)
        assert await queue(store, shop, ONE, again=True) is not None

    async def test_ports_and_units_are_unique_by_constraint(self, store: Store) -> None:
        await self.live(store, ONE, ("api", "web"))
        for column in (generations.c.port, generations.c.unit):

            def make_equal(db: sa.Connection, column: sa.Column[object] = column) -> None:
                same = db.scalar(sa.select(sa.func.max(column)))
                db.execute(sa.update(generations).values({column.name: same}))

            with pytest.raises(IntegrityError):
                await store.write(make_equal)

    async def test_no_port_left_says_what_to_widen(self, store: Store) -> None:
        with pytest.raises(Unavailable, match=r"services\.ports"):
            await self.live(store, ONE, tuple(f"s{n}" for n in range(11)))

    async def test_forgetting_leaves_nothing_and_only_when_unwanted(self, store: Store) -> None:
        await self.live(store, ONE)
        [wanted] = await store.read(partial(snapshot.wanted, host="here"))
        assert not await store.write(partial(tenants.forget, tenant_id=wanted.record.id))
        shop = (await store.read(projects.every))[0]
        await store.write(partial(tenants.gone, project_id=shop.id, ref=MAIN, now=7.0))
        assert await store.write(partial(tenants.forget, tenant_id=wanted.record.id))
        assert await store.read(partial(snapshot.wanted, host="here")) == []
        assert await store.read(lambda db: db.execute(sa.select(host_rows)).all()) == []

    async def test_builds_that_are_live_or_recent_are_kept(self, store: Store) -> None:
        built = [(await self.live(store, commit))[0] for commit in (ONE, TWO, THREE)]
        assert await store.read(partial(builds.kept, keep=1)) >= {built[2]}
        await store.write(
            lambda db: db.execute(sa.delete(generations).where(generations.c.build_id < built[2]))
        )
        assert await store.read(partial(builds.kept, keep=2)) == {built[1], built[2]}

    async def test_a_removed_project_goes_when_its_last_ref_is_gone(self, store: Store) -> None:
        shop = await add_project(store)
        tenant = await see(store, shop, Ref.branch("x"))
        build = await queue(store, shop, ONE, Ref.branch("x"))
        assert build is not None
        await claim(store)
        await make_built(store, build)
        await store.write(partial(projects.remove, name="shop"))
        await store.write(partial(tenants.leave, project_id=shop.id, now=8.0))
        assert await store.write(tenants.forget_projects) == []
        await store.write(partial(tenants.forget, tenant_id=tenant.id))
        assert await store.write(tenants.forget_projects) == ["shop"]
        assert await store.read(projects.every) == []


class TestHosts:
    async def reserve(
        self, store: Store, project: Project, ref: Ref, manifest: Manifest, **more: object
    ) -> dict[str, list[str]]:
        tenant = await see(store, project, ref)
        values = {"ephemeral": "example.net", "custom": True, "granted": (), **more}
        found = await store.write(
            partial(
                hosts.reserve,
                tenant_id=tenant.id,
                tenant=tenant.tenant,
                manifest=manifest,
                **values,  # type: ignore[arg-type]
            )
        )
        by_name: dict[str, list[str]] = {}
        for host in found:
            by_name.setdefault(host.name, []).append(host.host)
        return by_name

    @staticmethod
    def serving(*names: str, custom: Sequence[str] = (), redirects: Sequence[str] = ()) -> Manifest:
        one = Service(name="", package="", custom_domains=tuple(custom), redirects=tuple(redirects))
        return Manifest(services={n: replace(one, name=n, package=n) for n in names})

    async def test_the_primary_gets_the_plain_host(self, store: Store) -> None:
        shop = await add_project(store)
        found = await self.reserve(store, shop, MAIN, self.serving("api", "web"))
        assert found == {"api": ["shop-main.example.net"], "web": ["shop-web-main.example.net"]}
        found = await self.reserve(
            store, shop, Ref.branch("Feature/X"), self.serving("shop", "api")
        )
        assert found["shop"] == ["shop-feature-x.example.net"]

    async def test_a_host_that_is_taken_gets_a_hash_and_keeps_it(self, store: Store) -> None:
        a, ab = await add_project(store, "o/a"), await add_project(store, "o/a-b")
        first = await self.reserve(store, a, Ref.branch("b-c"), self.serving("api"))
        second = await self.reserve(store, ab, Ref.branch("c"), self.serving("api"))
        assert first == {"api": ["a-b-c.example.net"]}
        assert second["api"][0].startswith("a-b-c-")
        await store.write(partial(tenants.gone, project_id=a.id, ref=Ref.branch("b-c"), now=1.0))
        assert second == await self.reserve(store, ab, Ref.branch("c"), self.serving("api"))

    @pytest.mark.parametrize("granted", [("api.acme.org",), ("*.acme.org",)])
    async def test_a_granted_custom_domain_is_reserved(
        self, store: Store, granted: tuple[str, ...]
    ) -> None:
        shop = await add_project(store)
        manifest = self.serving("api", custom=["api.acme.org"])
        found = await self.reserve(store, shop, MAIN, manifest, granted=granted)
        assert found["api"] == ["shop-main.example.net", "api.acme.org"]

    @pytest.mark.parametrize("granted", [(), ("acme.org",), ("*.api.acme.org",), ("*.org",)])
    async def test_a_custom_domain_that_is_not_granted_is_refused(
        self, store: Store, granted: tuple[str, ...]
    ) -> None:
        shop = await add_project(store)
        manifest = self.serving("api", custom=["api.acme.org"])
        with pytest.raises(Rejected, match=r"\[projects.shop\] domains"):
            await self.reserve(store, shop, MAIN, manifest, granted=granted)

    async def test_a_custom_domain_belongs_to_one(self, store: Store) -> None:
        manifest = self.serving("api", custom=["api.acme.org"])
        granted = ("api.acme.org",)
        await self.reserve(store, await add_project(store), MAIN, manifest, granted=granted)
        other = await add_project(store, "evil/shop")
        with pytest.raises(Rejected, match="in use"):
            await self.reserve(store, other, MAIN, manifest, granted=granted)

    async def test_the_first_of_several_is_the_one_that_people_are_told(self, store: Store) -> None:
        shop = await add_project(store)
        tenant = await see(store, shop, MAIN)
        asked = ["z.acme.org", "a.acme.org", "m.acme.org"]
        manifest = self.serving("api", custom=asked, redirects=["www.acme.org", "old.acme.org"])
        granted = ("*.acme.org",)
        for given, told in (
            (manifest, ("m.acme.org", "a.acme.org", "z.acme.org")),
            (self.serving("api", custom=["www.acme.org"]), ("www.acme.org",)),
        ):
            reserving = partial(
                hosts.reserve,
                tenant_id=tenant.id,
                tenant=tenant.tenant,
                manifest=given,
                ephemeral="example.net",
                custom=True,
                granted=granted,
            )
            wanted = await store.write(reserving)
            await store.write(partial(hosts.settle, tenant_id=tenant.id, wanted=wanted))
            held = (await store.read(hosts.by_tenant))[tenant.id]
            assert hosts.by_name(held) == hosts.by_name(wanted)
            assert hosts.by_name(held) == {"api": ("shop-main.example.net", *told)}
            leading = set(hosts.by_name(held, redirects=True).get("api", ()))
            assert leading == set(given.services["api"].redirects)

    @pytest.mark.parametrize("redirects", [["www.acme.org"], ["api.other.org"], ["evilacme.org"]])
    async def test_a_redirect_is_granted_like_any_other(
        self, store: Store, redirects: list[str]
    ) -> None:
        shop = await add_project(store)
        manifest = self.serving("api", custom=["api.acme.org"], redirects=redirects)
        with pytest.raises(Rejected, match=f"custom domain {redirects[0]} is not granted"):
            await self.reserve(
                store, shop, MAIN, manifest, granted=("api.acme.org", "*.www.acme.org")
            )
        found = await self.reserve(store, shop, Ref.branch("x"), manifest, custom=False)
        assert found == {"api": ["shop-x.example.net"]}

    async def test_no_two_projects_share_one_in_whatever_way_they_ask(self, store: Store) -> None:
        """Both may have been granted it, by a wildcard: the first has it."""
        granted = ("*.acme.org",)
        shop, other = await add_project(store), await add_project(store, "evil/shop")
        manifest = self.serving("api", custom=["api.acme.org"], redirects=["www.acme.org"])
        await self.reserve(store, shop, MAIN, manifest, granted=granted)
        for asked in (
            self.serving("api", custom=["www.acme.org"]),
            self.serving("api", custom=["mine.acme.org"], redirects=["api.acme.org"]),
            self.serving("api", custom=["mine.acme.org", "api.acme.org"]),
        ):
            with pytest.raises(Rejected, match="in use by another project"):
                await self.reserve(store, other, MAIN, asked, granted=granted)

    async def test_a_grant_that_is_withdrawn_frees_what_it_gave(self, store: Store) -> None:
        shop = await add_project(store, domains=("*.acme.org", "acme.org"))
        manifest = self.serving("api", custom=["api.acme.org"], redirects=["acme.org"])
        await self.reserve(store, shop, MAIN, manifest, granted=shop.domains)
        await store.write(partial(projects.configure, project=shop, domains=["acme.org"]))
        [held] = (await store.read(hosts.by_tenant)).values()
        assert {host.host for host in held} == {"shop-main.example.net", "acme.org"}
        other = await add_project(store, "acme/till")
        asked = self.serving("api", custom=["api.acme.org"])
        found = await self.reserve(store, other, MAIN, asked, granted=("*.acme.org",))
        assert found == {"api": ["till-main.example.net", "api.acme.org"]}

    async def test_previews_get_no_custom_domain(self, store: Store) -> None:
        shop = await add_project(store)
        manifest = self.serving("api", custom=["api.acme.org"])
        found = await self.reserve(store, shop, Ref.branch("x"), manifest, custom=False)
        assert found == {"api": ["shop-x.example.net"]}


class TestTheInbox:
    async def test_deliveries_are_kept_in_order_until_they_are_handled(self, store: Store) -> None:
        new = [
            NewDelivery(
                forge="forgejo",
                event="push",
                delivery_id=f"d{number}",
                project="acme/shop",
                headers={"x-forgejo-event": "push"},
                body=b"\x00\xff%d" % number,
                received_at=float(number),
            )
            for number in range(5)
        ]
        ids = await store.write(partial(inbox.add, new=new))
        waiting = await store.read(inbox.waiting)
        assert [one.id for one in waiting] == ids
        assert [one.body for one in waiting] == [one.body for one in new]
        await store.write(partial(inbox.handled, delivery=ids[0], outcome="done", now=9.0))
        assert [one.id for one in await store.read(inbox.waiting)] == ids[1:]
        assert await store.write(partial(inbox.prune, before=10.0)) == 1
        assert len(await store.read(partial(inbox.recent, limit=10))) == 4
