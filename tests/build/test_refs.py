"""What a build finds out about its ref: it is gone, it is not wanted, it is nobody's we trust."""

from functools import partial
from typing import Any

import pytest

from kennel.domain import Ref, Tenant
from kennel.store import builds, departures, tenants

CHANGE, FORK = Ref.branch("change"), Ref.pull_request(1)
NO_PREVIEWS = "kennel = { previews = false;"


async def history(workshop: Any) -> list[tuple[str, str]]:
    return [(build.commit, build.state) for build in await workshop.store.read(builds.recent)]


@pytest.mark.parametrize(
    ("kennel", "reason"),
    [
        (NO_PREVIEWS, "the manifest says previews = false"),
        (
            "kennel = { services.api.previews = false; }; unused = {",
            "every service in the manifest says previews = false, and there is no site",
        ),
    ],
)
async def test_a_preview_that_a_commit_declines_leaves_and_says_why(
    workshop: Any, repository: Any, simple_flake: str, kennel: str, reason: str
) -> None:
    files = {"flake.nix": simple_flake.replace("kennel = {", kennel, 1)}
    main = repository.commit(files)
    commit = repository.commit({"more": "text"}, "change")
    project = await workshop.project(str(repository.path))
    assert (await workshop.build(project, main)).state == "built"
    preview = await workshop.build(project, commit, "change")
    assert (preview.state, preview.reason) == ("cancelled", reason)
    left = await workshop.store.read(partial(departures.find, project_id=project.id, ref=CHANGE))
    assert (left.commit, left.reason) == (commit, reason)
    assert workshop.built == 2


async def test_a_preview_of_which_a_site_is_left_is_one(
    workshop: Any, repository: Any, flake: Any
) -> None:
    packages = 'api = program "api"; docs = make "docs" "mkdir $out";'
    kennel = "{ services.api.previews = false; sites.docs = { }; }"
    commit = repository.commit({"flake.nix": flake(packages, kennel)}, "change")
    project = await workshop.project(str(repository.path))
    assert (await workshop.build(project, commit, "change")).state == "built"


async def test_a_ref_that_is_gone_has_left_by_itself(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    """Somebody may push it again, at the same commit too."""
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    build = await workshop.build(project, commit, "change")
    assert build.state == "cancelled"
    left = await workshop.store.read(partial(departures.find, project_id=project.id, ref=CHANGE))
    assert left.reason == ""


async def test_a_fork_builds_nothing_that_was_pushed_after_its_approval(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    approved = repository.commit({"flake.nix": simple_flake})
    evil = repository.commit({"evil": "text"})
    repository.git("update-ref", "refs/pull/1/head", evil)
    project = await workshop.project(str(repository.path))
    number = await workshop.queue(project, approved, "pr-1", trusted=False)
    async with workshop.working():
        build = await workshop.over(number)
    assert build.reason == f"waits for approval of {evil[:12]}"
    assert await history(workshop) == [(approved, "cancelled")]
    assert f"=== waits for approval of {evil[:12]} ===" in workshop.log(number)
    assert "evaluating" not in workshop.log(number)
    known = await workshop.store.read(partial(tenants.known, tenant=Tenant("shop", FORK)))
    assert (known.head, known.approved) == (evil, approved)


async def test_a_fork_that_a_person_orders_is_built_as_what_it_is(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    repository.git("update-ref", "refs/pull/1/head", commit)
    project = await workshop.project(str(repository.path))
    number = await workshop.queue(project, builds.HEAD, "pr-1", trusted=False, approved="")
    async with workshop.working():
        build = await workshop.over(number)
    assert (build.state, build.commit, build.trusted) == ("built", commit, False)
    assert {path.name for path in workshop.places.homes.iterdir()} >= {"shop.untrusted"}
