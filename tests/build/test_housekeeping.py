"""What builds leave behind goes with the ref, or the project, that it was for."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kennel.build import has_outputs, housekeeping
from kennel.build.git import mirror_ref
from kennel.build.mirrors import remove
from kennel.build.places import Places
from kennel.build.remote import Remote
from kennel.domain import Ref
from kennel.settings import BuildTable, Settings
from kennel.store import projects, tenants
from kennel.store.tables import builds as build_rows

Flake = Callable[..., str]
SOON = 10.0
"""Seconds after which nothing is left of a ref that was forgotten."""


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def refs(workshop: Any, project: str = "shop") -> set[str]:
    """Return the refs of a mirror, by what git says itself."""
    mirror = str(workshop.places.mirror(project))
    words = ["git", "-C", mirror, "for-each-ref", "--format=%(refname)"]
    return {*subprocess.check_output(words, text=True).split()}


async def forget(workshop: Any, project: Any, ref: str) -> None:
    """Forget a ref as the reconciler does once nothing of it is in the world."""

    def change(db: sa.Connection) -> None:
        tenants.gone(db, project_id=project.id, ref=Ref.parse(ref), now=5.0)
        for record in tenants.every(db):
            tenants.forget(db, record.id)

    await workshop.store.write(change)


async def two_refs(workshop: Any, repository: Any, simple_flake: str) -> tuple[Any, Any, Any]:
    """Return a project, and builds of `main` and `change`, which have different commits."""
    first = repository.commit({"flake.nix": simple_flake})
    second = repository.commit({"more": "text"}, "change")
    project = await workshop.project(str(repository.path))
    main = await workshop.build(project, first)
    change = await workshop.build(project, second, "change")
    assert (main.state, change.state) == ("built", "built"), (main.reason, change.reason)
    return project, main, change


async def test_nothing_that_was_built_of_a_ref_outlives_it(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project, main, change = await two_refs(workshop, repository, simple_flake)
    assert refs(workshop) == {mirror_ref(Ref.branch("main")), mirror_ref(Ref.branch("change"))}
    async with workshop.working() as worker:
        await asyncio.sleep(1)  # it has looked, and found nothing
        left = workshop.places.checkouts / str(change.id)
        left.mkdir()
        await forget(workshop, project, "change")
        worker.tidy_soon()
        roots = workshop.places.roots
        await until(lambda: not (roots / str(change.id)).exists(), SOON)
        await until(lambda: refs(workshop) == {mirror_ref(Ref.branch("main"))}, SOON)
        assert not left.exists()
        assert (roots / str(main.id)).exists()
    assert await has_outputs(workshop.places, main)
    assert not await has_outputs(workshop.places, change)


async def test_what_a_crash_left_of_a_ref_goes_at_the_next_start(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project, _, change = await two_refs(workshop, repository, simple_flake)
    await forget(workshop, project, "change")
    async with workshop.working():
        await until(lambda: not (workshop.places.roots / str(change.id)).exists(), SOON)
        await until(lambda: refs(workshop) == {mirror_ref(Ref.branch("main"))}, SOON)


async def test_what_is_kept_for_an_operator_to_decide_stays_in_the_mirror(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project, _, change = await two_refs(workshop, repository, simple_flake)
    gone = partial(tenants.gone, project_id=project.id, ref=Ref.branch("change"), now=5.0)
    await workshop.store.write(gone)
    async with workshop.working():
        await until(lambda: not (workshop.places.roots / str(change.id)).exists(), SOON)
        await asyncio.sleep(1)
    assert mirror_ref(Ref.branch("change")) in refs(workshop)


async def test_mirrors_of_removed_projects_do_not_stay(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project, _, _ = await two_refs(workshop, repository, simple_flake)
    places = workshop.places
    untrusted = places.home("shop", trusted=False)
    half = places.mirrors / "shop.new"
    for folder in (untrusted, half, places.mirrors / "gone-before", places.home("x", trusted=True)):
        folder.mkdir()
    async with workshop.working() as worker:
        await until(lambda: not half.exists(), SOON)
        await until(lambda: {path.name for path in places.mirrors.iterdir()} == {"shop"}, SOON)
        homes = {"shop", "shop.untrusted", ".gitconfig"}
        await until(lambda: {path.name for path in places.homes.iterdir()} == homes, SOON)

        def change(db: sa.Connection) -> None:
            projects.remove(db, "shop")
            tenants.leave(db, project_id=project.id, now=5.0)
            for record in tenants.every(db):
                tenants.forget(db, record.id)
            assert tenants.forget_projects(db) == ["shop"]

        await workshop.store.write(change)
        worker.tidy_soon()
        await until(lambda: [*places.mirrors.iterdir()] == [], SOON)
        await until(lambda: {path.name for path in places.homes.iterdir()} == {".gitconfig"}, SOON)
        assert [*places.roots.iterdir()] == []


def slow(tmp_path: Path, flake: Flake) -> dict[str, str]:
    """Return a flake whose build says that it runs, and goes on when it may."""
    script = (
        f"touch {tmp_path}/running; while ! test -e {tmp_path}/go; do sleep 0.05; done;"
        " mkdir -p $out/bin; echo > $out/bin/api; chmod +x $out/bin/api"
    )
    return {"flake.nix": flake(f'api = make "slow" "{script}";', "{ services.api = { }; }")}


async def test_the_mirror_of_a_build_under_way_is_not_touched(
    workshop: Any, repository: Any, flake: Flake, simple_flake: str, tmp_path: Path
) -> None:
    project, _, change = await two_refs(workshop, repository, simple_flake)
    commit = repository.commit(slow(tmp_path, flake))
    number = await workshop.queue(project, commit)
    both = refs(workshop)
    async with workshop.working() as worker:
        await until((tmp_path / "running").exists)
        half = workshop.places.mirrors / "shop.new"
        half.mkdir()
        await forget(workshop, project, "change")
        worker.tidy_soon()
        await until(lambda: not (workshop.places.roots / str(change.id)).exists(), SOON)
        await asyncio.sleep(1)
        assert refs(workshop) == both
        assert half.exists()
        (tmp_path / "go").touch()
        assert (await workshop.over(number)).state == "built"
        await until(lambda: refs(workshop) == {mirror_ref(Ref.branch("main"))}, SOON)
        await until(lambda: not half.exists(), SOON)


async def test_the_last_good_builds_of_a_ref_can_be_brought_back_and_no_others(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    found = []
    for number in range(7):
        build = await workshop.build(project, repository.commit({"n": f"{number}"}))
        bad = {"state": "failed"}
        values = bad if number == 4 else {"state": "done", "good_at": 3.0}
        change = sa.update(build_rows).where(build_rows.c.id == build.id).values(**values)
        await workshop.store.write(lambda db, change=change: db.execute(change))
        found.append(await workshop.get(build.id))
    async with workshop.working():
        await until(lambda: len([*workshop.places.roots.iterdir()]) == 5, SOON)
    kept = [await has_outputs(workshop.places, build) for build in found]
    assert kept == [False, True, True, True, False, True, True]


async def test_what_is_half_gone_is_not_brought_back(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    link: Path = next((workshop.places.roots / str(build.id)).iterdir())
    target = link.readlink()
    assert await has_outputs(workshop.places, build)
    link.unlink()  # its folder is there, and the path too until the garbage is collected
    assert not await has_outputs(workshop.places, build)
    link.symlink_to(target.with_name("gone"))
    assert not await has_outputs(workshop.places, build)


def test_what_is_large_is_where_the_operator_says(tmp_path: Path) -> None:
    state, run, large = (tmp_path / name for name in ("state", "run", "large"))
    places = Places.of(Settings(state_dir=state, run_dir=run, build=BuildTable(dir=large)))
    places.prepare()
    assert {path.name for path in large.iterdir()} == {"mirrors", "checkouts", "homes"}
    assert {path.name for path in state.iterdir()} == {"roots", "logs"}
    assert set(places.hidden) == {state, run, large}, "builds see none of it"


async def test_each_removes_its_own_keys_at_the_start(tmp_path: Path) -> None:
    """Builds and looks at repositories start side by side, and either may be using one."""
    places = Places(tmp_path / "state", tmp_path / "run")
    places.prepare()
    for name in ("7", "project-7"):
        (places.keys / name).mkdir()
    housekeeping.sweep(places)
    assert [path.name for path in places.keys.iterdir()] == ["project-7"]
    (places.keys / "8").mkdir()
    await Remote(places).prepare()
    assert [path.name for path in places.keys.iterdir()] == ["8"]


async def test_a_lock_that_a_killed_git_left_fails_no_build(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project, _, _ = await two_refs(workshop, repository, simple_flake)
    folder = workshop.places.mirror("shop") / ".git"
    name = mirror_ref(Ref.branch("main"))
    for lock in (f"{name}.lock", "packed-refs.lock", "config.lock", "shallow.lock"):
        (folder / lock).touch()
    repository.git("checkout", "-q", "main")
    build = await workshop.build(project, repository.commit({"third": "text"}))
    assert build.state == "built", build.reason


async def test_a_mirror_that_was_being_removed_is_fetched_anew(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    """Kennel was killed in the middle of it, and the project was registered again."""
    project, _, _ = await two_refs(workshop, repository, simple_flake)
    mirror = workshop.places.mirror("shop")
    doomed = mirror.rename(mirror.with_name("shop.gone"))
    shutil.rmtree(doomed / ".git/objects")
    build = await workshop.build(project, repository.commit({"third": "text"}, "change"), "change")
    assert build.state == "built", build.reason
    async with workshop.working():
        await until(lambda: [*mirror.parent.iterdir()] == [mirror], SOON)


@pytest.mark.parametrize("name", ["shop", "shop.gone", "shop.untrusted"])
def test_a_folder_goes_wherever_its_removal_was_cut_off_before(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path / "shop.gone/sub", tmp_path / name / "sub"):
        folder.mkdir(parents=True, exist_ok=True)
    remove(tmp_path / name)
    assert not (tmp_path / name).exists()
    if name == "shop":
        assert [*tmp_path.iterdir()] == []


async def test_cleaning_up_goes_on_when_the_database_was_away(
    workshop: Any, repository: Any, simple_flake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "AFTER", 0.01)
    project, _, change = await two_refs(workshop, repository, simple_flake)
    await forget(workshop, project, "change")
    read, failures = workshop.store.read, iter(range(5))

    async def away(question: Any) -> Any:
        if next(failures, None) is not None:
            raise RuntimeError("the database is away")
        return await read(question)

    monkeypatch.setattr(workshop.store, "read", away)
    async with workshop.working() as worker:
        async with asyncio.timeout(SOON):
            while (workshop.places.roots / str(change.id)).exists():
                worker.tidy_soon()
                await asyncio.sleep(0.05)
