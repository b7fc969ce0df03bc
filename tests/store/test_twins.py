"""A commit that two refs are at is built once."""

from functools import partial

import sqlalchemy as sa

from kennel.domain import Manifest, Outputs, Ref
from kennel.domain.record import Project
from kennel.store import Store, builds, projects, twins
from kennel.store.tables import builds as build_rows

MAIN, CHANGE, PULL = Ref.branch("main"), Ref.branch("change"), Ref.pull_request(42)
ONE, TWO = "1" * 40, "2" * 40


async def add_project(store: Store, name: str = "shop") -> Project:
    return await store.write(
        partial(
            projects.register,
            forge="forgejo",
            full_name=f"acme/{name}",
            clone_url="https://x",
            now=1.0,
        )
    )


async def queue(
    store: Store, project: Project, ref: Ref, commit: str = ONE, *, trusted: bool = True
) -> int:
    change = partial(
        builds.queue, project_id=project.id, ref=ref, commit=commit, trusted=trusted, now=2.0
    )
    number = await store.write(change)
    assert number is not None
    return number


async def claim(store: Store) -> int | None:
    claimed = await store.write(partial(builds.claim, now=3.0))
    return claimed.build.id if claimed else None


async def end(store: Store, number: int, *, now: float = 4.0) -> None:
    await store.write(partial(builds.failed, build_id=number, reason="no", now=now))


async def built(store: Store, number: int) -> None:
    change = partial(builds.built, build_id=number, manifest=Manifest(), outputs=Outputs(), now=4.0)
    assert await store.write(change)


class TestTheQueue:
    async def test_a_commit_that_is_being_built_is_not_built_beside_it(self, store: Store) -> None:
        shop = await add_project(store)
        first = await queue(store, shop, MAIN)
        second = await queue(store, shop, CHANGE)
        assert await claim(store) == first
        assert await claim(store) is None
        await built(store, first)
        assert await claim(store) == second

    async def test_who_waits_for_a_commit_holds_up_nobody(self, store: Store) -> None:
        shop, till = await add_project(store), await add_project(store, "till")
        await queue(store, shop, MAIN)
        await queue(store, shop, CHANGE)
        third = await queue(store, shop, PULL, TWO)
        other = await queue(store, till, MAIN)
        await claim(store)
        assert {await claim(store), await claim(store)} == {third, other}
        assert await claim(store) is None

    async def test_heads_that_are_not_known_yet_are_not_one_commit(self, store: Store) -> None:
        shop = await add_project(store)
        for ref in (MAIN, CHANGE):
            await queue(store, shop, ref, builds.HEAD)
        assert None not in {await claim(store), await claim(store)}

    async def test_who_waited_for_one_that_was_cancelled_is_next(self, store: Store) -> None:
        shop = await add_project(store)
        first, second = await queue(store, shop, MAIN), await queue(store, shop, CHANGE)
        await claim(store)
        await store.write(partial(builds.cancelled, build_id=first, reason="by Ada", now=4.0))
        assert await claim(store) == second


class TestTwins:
    async def test_what_the_commit_gave_anywhere_in_the_project_is_known(
        self, store: Store
    ) -> None:
        shop, till = await add_project(store), await add_project(store, "till")
        for project, commit in ((shop, ONE), (shop, TWO), (till, ONE)):
            number = await queue(store, project, MAIN, commit)
            await claim(store)
            await built(store, number)
        failed = await queue(store, shop, PULL)
        await claim(store)
        await end(store, failed)
        mine = await queue(store, shop, CHANGE)
        found = await store.read(partial(twins.built, build_id=mine))
        assert [(one.tenant.project, one.commit) for one in found] == [("shop", ONE)]
        assert await store.read(partial(twins.under_way, build_id=mine)) is None

    async def test_a_failure_counts_for_those_that_waited_for_it(self, store: Store) -> None:
        shop = await add_project(store)
        first = await queue(store, shop, MAIN)
        waited = await queue(store, shop, CHANGE)
        await claim(store)
        assert await store.read(partial(twins.under_way, build_id=waited)) == first
        await end(store, first)

        async def reason(number: int, *among: int) -> str | None:
            question = partial(twins.failed_meanwhile, build_id=number, among=among)
            found = await store.read(question)
            return found.reason if found else None

        assert await reason(waited, first) == "no"
        assert await reason(waited) is None  # it failed for another reason than what is in it
        later = await queue(store, shop, PULL)
        change = sa.update(build_rows).where(build_rows.c.id == later).values(created_at=5.0)
        await store.write(lambda db: db.execute(change))
        assert await reason(later, first) is None  # tried again

    async def test_a_failure_without_credentials_says_nothing_of_a_trusted_commit(
        self, store: Store
    ) -> None:
        shop = await add_project(store)
        first = await queue(store, shop, PULL, trusted=False)
        trusted = await queue(store, shop, MAIN)
        other = await queue(store, shop, CHANGE, trusted=False)
        await claim(store)
        await end(store, first)
        for number, found in ((trusted, None), (other, first)):
            question = partial(twins.failed_meanwhile, build_id=number, among=[first])
            twin = await store.read(question)
            assert (twin.id if twin else None) == found
