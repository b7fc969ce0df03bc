"""A commit that two refs are at is built once and deployed twice. By the real git and Nix."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kennel.store import builds, tenants
from kennel.testing.cache import MemoryCache

Flake = Callable[..., str]
SECRETS = '[project]\nname = "shop"\n'
SHARED = "the same commit was built as build {}"


def marking(tmp_path: Path, flake: Flake, end: str = "") -> dict[str, str]:
    """Return a flake whose build marks that it runs, waits until it may go on, and ends so."""
    (tmp_path / "runs").mkdir(exist_ok=True)
    script = (
        f"touch {tmp_path}/runs/$$; while ! test -e {tmp_path}/go; do sleep 0.05; done; {end}"
        " mkdir -p $out/bin; echo > $out/bin/api; chmod +x $out/bin/api"
    )
    return {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}


def runs(tmp_path: Path) -> int:
    return len([*(tmp_path / "runs").iterdir()])


def go_on(tmp_path: Path) -> None:
    (tmp_path / "go").touch()


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def collect_garbage(nix_store: Mapping[str, str]) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **nix_store}
    subprocess.run(["nix-store", "--gc"], env=env, check=True, capture_output=True)


async def two_refs(workshop: Any, repository: Any, files: Mapping[str, str]) -> tuple[Any, str]:
    """Return a project with `main` and `change` at one commit, and the commit."""
    commit = repository.commit(files)
    repository.git("branch", "change")
    return await workshop.project(str(repository.path)), commit


async def test_a_commit_that_was_built_is_not_built_again_for_another_ref(
    workshop: Any, repository: Any, simple_flake: str, nix_store: Mapping[str, str]
) -> None:
    files = {"flake.nix": simple_flake, "secretspec.toml": SECRETS}
    project, commit = await two_refs(workshop, repository, files)
    first = await workshop.build(project, commit)
    second = await workshop.build(project, commit, "change")
    assert second.state == "built", second.reason
    assert (second.manifest, second.outputs) == (first.manifest, first.outputs)
    assert SHARED.format(first.id) in workshop.log(second.id)
    assert "evaluating" in workshop.log(first.id)
    assert "evaluating" not in workshop.log(second.id)
    assert second.secrets == first.secrets is not None


async def test_each_of_two_refs_keeps_what_they_share(
    workshop: Any, repository: Any, flake: Flake, nix_store: Mapping[str, str]
) -> None:
    kennel = '{ services.api.args = [ "${make "data" "mkdir $out"}" "${./README}" ]; }'
    files = {"flake.nix": flake('api = program "api";', kennel), "README": "hello"}
    project, commit = await two_refs(workshop, repository, files)
    first = await workshop.build(project, commit)
    second = await workshop.build(project, commit, "change")
    shutil.rmtree(workshop.places.roots / str(first.id))
    collect_garbage(nix_store)
    for path in (second.outputs.programs["api"], *second.manifest.services["api"].args):
        assert Path(path).exists()
    shutil.rmtree(workshop.places.roots / str(second.id))
    collect_garbage(nix_store)
    assert not Path(second.outputs.programs["api"]).exists()


async def test_what_is_not_kept_any_more_is_built_again(
    workshop: Any, repository: Any, simple_flake: str, nix_store: Mapping[str, str]
) -> None:
    project, commit = await two_refs(workshop, repository, {"flake.nix": simple_flake})
    first = await workshop.build(project, commit)
    shutil.rmtree(workshop.places.roots / str(first.id))
    collect_garbage(nix_store)
    second = await workshop.build(project, commit, "change")
    assert second.state == "built", second.reason
    assert "evaluating" in workshop.log(second.id)
    assert Path(second.outputs.programs["api"]).exists()


async def test_a_path_that_goes_at_the_last_moment_is_built_again(
    workshop: Any, repository: Any, simple_flake: str, nix_store: Mapping[str, str]
) -> None:
    """The files are there, and Nix knows nothing of them any more."""
    project, commit = await two_refs(workshop, repository, {"flake.nix": simple_flake})
    first = await workshop.build(project, commit)
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **nix_store}
    links = workshop.places.roots / str(first.id)
    there = {path: path.readlink() for path in links.iterdir()}
    shutil.rmtree(links)
    path = first.outputs.paths["api"]
    shutil.copytree(path, f"{path}.copy")
    subprocess.run(["nix-store", "--delete", path], env=env, check=True, capture_output=True)
    Path(f"{path}.copy").rename(path)
    links.mkdir()
    for link, target in there.items():
        link.symlink_to(target)
    second = await workshop.build(project, commit, "change")
    assert second.state == "built", second.reason
    assert "cannot keep" in workshop.log(second.id)
    assert "evaluating" in workshop.log(second.id)


async def test_who_waits_for_a_commit_neither_builds_it_nor_takes_anybodys_place(
    workshop: Any, repository: Any, make_repository: Any, flake: Flake, tmp_path: Path
) -> None:
    project, commit = await two_refs(workshop, repository, marking(tmp_path, flake))
    till = make_repository("till")
    other = till.commit({"flake.nix": flake('api = program "api";', "{ services.api = { }; }")})
    first = await workshop.queue(project, commit)
    second = await workshop.queue(project, commit, "change")
    third = await workshop.queue(await workshop.project(str(till.path), "till"), other)
    async with workshop.working():
        await until(lambda: runs(tmp_path))
        assert (await workshop.over(third)).state == "built"
        assert (await workshop.get(second)).state == "queued"
        go_on(tmp_path)
        assert (await workshop.over(first)).state == "built"
        assert (await workshop.over(second)).state == "built"
    assert runs(tmp_path) == 1
    assert SHARED.format(first) in workshop.log(second)


async def test_a_commit_that_fails_fails_on_every_ref_that_waited_for_it(
    workshop: Any, repository: Any, flake: Flake, tmp_path: Path
) -> None:
    files = marking(tmp_path, flake, "echo no such header >&2; exit 3;")
    project, commit = await two_refs(workshop, repository, files)
    numbers = [await workshop.queue(project, commit, ref) for ref in ("main", "change")]
    async with workshop.working() as worker:
        await until(lambda: runs(tmp_path))
        go_on(tmp_path)
        first, second = [await workshop.over(number) for number in numbers]
        assert (second.state, second.reason) == ("failed", first.reason)
        assert "no such header" in second.reason
        assert runs(tmp_path) == 1
        assert f"the same commit failed as build {first.id}" in workshop.log(second.id)
        once_more = await workshop.queue(project, commit, "change")
        worker.wake()
        third = await workshop.over(once_more)
    assert third.state == "failed"
    assert runs(tmp_path) == 2  # somebody pushed it once more


async def test_a_commit_whose_build_was_cancelled_is_built_by_who_waited_for_it(
    workshop: Any, repository: Any, flake: Flake, tmp_path: Path
) -> None:
    project, commit = await two_refs(workshop, repository, marking(tmp_path, flake))
    numbers = [await workshop.queue(project, commit, ref) for ref in ("main", "change")]
    async with workshop.working() as worker:
        await until(lambda: runs(tmp_path))
        cancel = partial(builds.cancelled, build_id=numbers[0], reason="by Ada", now=2.0)
        await workshop.store.write(cancel)
        worker.wake()
        await until(lambda: runs(tmp_path) == 2)
        go_on(tmp_path)
        assert (await workshop.over(numbers[1])).state == "built"


async def test_what_a_person_orders_is_built(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project, commit = await two_refs(workshop, repository, {"flake.nix": simple_flake})
    await workshop.build(project, commit)
    again = await workshop.build(project, builds.HEAD, "change")
    assert (again.state, again.commit) == ("built", commit)
    assert "evaluating" in workshop.log(again.id)


async def from_a_fork(workshop: Any, repository: Any, files: Mapping[str, str]) -> tuple[Any, Any]:
    """Return a build of a fork's commit, and one of `main`, which has it too by now."""
    commit = repository.commit(files)
    repository.git("update-ref", "refs/pull/1/head", commit)
    project = await workshop.project(str(repository.path))
    first = await workshop.queue(project, commit, "pr-1", trusted=False)
    async with workshop.working() as worker:
        fork = await workshop.over(first)
        second = await workshop.queue(project, commit)
        worker.wake()
        main = await workshop.over(second)
        await until(lambda: all(cache.pushes for cache in workshop.caches.values()))
    assert (fork.state, main.state) == ("built", "built"), (fork.reason, main.reason)
    return fork, main


async def test_a_merged_fork_is_not_built_again_and_is_pushed_to_caches_then(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    cache = MemoryCache()
    workshop.caches = {"memory": cache}
    fork, main = await from_a_fork(workshop, repository, {"flake.nix": simple_flake})
    assert SHARED.format(fork.id) in workshop.log(main.id)
    assert cache.pushes == [(main.outputs.paths["api"],)]


async def test_devenvs_word_for_a_fork_is_not_taken_for_a_trusted_ref(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    files = {"flake.nix": simple_flake, "devenv.nix": "{ }"}
    _, main = await from_a_fork(workshop, repository, files)
    assert "evaluating" in workshop.log(main.id)


async def test_a_preview_that_is_declined_is_declined_without_a_build_too(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    declined = simple_flake.replace("kennel = {", "kennel = { previews = false;", 1)
    project, commit = await two_refs(workshop, repository, {"flake.nix": declined})
    first = await workshop.build(project, commit)
    preview = await workshop.build(project, commit, "change")
    assert (preview.state, preview.reason) == ("cancelled", "the manifest says previews = false")
    assert SHARED.format(first.id) in workshop.log(preview.id)
    assert [r.tenant.ref.short for r in await workshop.store.read(tenants.every)] == ["main"]
