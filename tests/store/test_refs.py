"""What is known of the refs of a project."""

from functools import partial
from typing import Any

import sqlalchemy as sa

from kennel.domain import Ref
from kennel.store import Store, builds, projects, refs, tenants
from kennel.sweep.compare import Known, Left, Wanted

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
MAIN, FIX, PR = Ref.branch("main"), Ref.branch("fix"), Ref.pull_request(7)


def register(db: sa.Connection, name: str = "shop", **more: Any) -> int:
    return projects.register(
        db, now=1.0, forge="forgejo", full_name=f"acme/{name}", clone_url="https://x", **more
    ).id


def seen(db: sa.Connection, project: int, ref: Ref, head: str, *, trusted: bool = True) -> None:
    tenants.seen(db, project_id=project, ref=ref, trusted=trusted, now=1.0, head=head)


def queue(db: sa.Connection, project: int, ref: Ref, commit: str) -> int:
    number = builds.queue(
        db, project_id=project, ref=ref, commit=commit, trusted=True, now=1.0, again=True
    )
    assert number is not None
    return number


async def test_the_newest_builds_of_each_ref_are_known(store: Store) -> None:
    def change(db: sa.Connection) -> tuple[int, list[int]]:
        shop, other = register(db), register(db, "till")
        for project in (shop, other):
            seen(db, project, MAIN, ONE)
        seen(db, shop, FIX, "")
        first = queue(db, shop, MAIN, ONE)
        builds.failed(db, first, reason="no", now=2.0)
        second = queue(db, shop, MAIN, TWO)
        builds.cancelled(db, second, reason="by hand", now=2.0)
        third = queue(db, shop, FIX, builds.HEAD)
        queue(db, other, MAIN, THREE)
        return shop, [second, third]

    shop, numbers = await store.write(change)
    known = await store.read(partial(refs.known, of=shop, label="go"))
    assert known == Known(
        wanted={
            MAIN: Wanted(newest=numbers[0], head=ONE, commits=frozenset({ONE, TWO})),
            FIX: Wanted(newest=numbers[1], commits=frozenset({builds.HEAD}), heading=True),
        },
        label="go",
    )


async def test_what_nobody_trusts_is_known_by_what_was_heard_of_it(store: Store) -> None:
    def change(db: sa.Connection) -> tuple[int, int]:
        shop = register(db, previews=False)
        seen(db, shop, PR, TWO, trusted=False)
        return shop, queue(db, shop, PR, ONE)

    shop, number = await store.write(change)
    known = await store.read(partial(refs.known, of=shop, label=""))
    row = Wanted(newest=number, head=TWO, commits=frozenset({ONE, TWO}), trusted=False)
    assert known == Known(wanted={PR: row}, previews=False)


async def test_what_left_is_known_with_whether_it_was_let_go(store: Store) -> None:
    def change(db: sa.Connection) -> int:
        shop = register(db)
        for ref, reason in ((FIX, "nobody needed it"), (PR, "")):
            seen(db, shop, ref, ONE)
            tenants.gone(db, project_id=shop, ref=ref, now=9.0, reason=reason)
        return shop

    shop = await store.write(change)
    known = await store.read(partial(refs.known, of=shop, label=""))
    assert known == Known(
        left={
            FIX: Left(commit=ONE, let_go=True, at=9.0),
            PR: Left(commit=ONE, let_go=False, at=9.0),
        }
    )


async def test_nothing_is_known_of_a_project_that_goes(store: Store) -> None:
    shop = await store.write(register)
    await store.write(partial(projects.remove, name="shop"))
    for number in (shop, shop + 1):
        assert await store.read(partial(refs.known, of=number, label="")) is None
