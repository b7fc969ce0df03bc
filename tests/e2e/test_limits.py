"""What services may use, and what happens when previews want more than there is."""

import sqlite3
import time
from collections.abc import Collection
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from kennel.cli.demo.visitor import Visitor

if TYPE_CHECKING:
    from kennel.testing.host_scene import HostScene
    from kennel.testing.scene import Scene

pytestmark = pytest.mark.timeout(180)
MIB = 1024 * 1024
LIMITS = f"""
[environments.prod]
cpu_weight = 300
[environments.preview]
memory_max = {128 * MIB}
tasks_max = 64
[projects.blog]
memory_max = {96 * MIB}
tasks_max = 32
"""
ROOM_FOR_ONE = f"""
[environments.preview]
memory_max = {256 * MIB}
[previews]
memory_max = {300 * MIB}
[reconcile]
every = 0.5
"""


def configure(scene: "Scene", text: str) -> None:
    scene.place.config.write_text(scene.place.config.read_text() + text)
    scene.start()


@pytest.mark.host
def test_units_have_the_limits_of_their_environment_and_of_their_project(
    still_host_scene: "HostScene",
) -> None:
    scene = still_host_scene
    configure(scene, LIMITS)
    shop, blog = scene.repository(), scene.repository("blog")
    for repository, branch in ((shop, "main"), (shop, "fix"), (blog, "main"), (blog, "fix")):
        repository.push(f"HEAD:refs/heads/{branch}")
        scene.live("one", repository.name, branch)
    has = {
        (project, ref): scene.machine.box.show(unit, "MemoryMax", "CPUWeight", "TasksMax")
        for project, ref, unit in units(scene)
    }
    common = {"MemoryMax": str(1024 * MIB), "TasksMax": "512", "CPUWeight": "100"}
    preview = {"MemoryMax": str(128 * MIB), "TasksMax": "64"}
    own = {"MemoryMax": str(96 * MIB), "TasksMax": "32"}
    assert has == {
        ("shop", "main"): {**common, "CPUWeight": "300"},
        ("shop", "fix"): {**common, **preview},
        ("blog", "main"): {**common, **own, "CPUWeight": "300"},
        ("blog", "fix"): {**common, **own},
    }


def units(scene: "Scene") -> list[tuple[str, str, str]]:
    """Return the units of services that the store knows: project, ref, unit."""
    query = (
        "SELECT p.name, t.ref, g.unit FROM generations g"
        " JOIN tenants t ON t.id = g.tenant_id JOIN projects p ON p.id = t.project_id"
    )
    with closing(sqlite3.connect(f"{scene.place.state}/kennel.db")) as store:
        return [(p, ref.rpartition("/")[2], unit) for p, ref, unit in store.execute(query)]


def test_a_preview_for_which_there_is_no_room_waits_says_so_and_gets_it(
    still_scene: "Scene",
) -> None:
    scene = still_scene
    configure(scene, ROOM_FOR_ONE)
    repository = scene.repository()
    for branch in ("main", "first"):
        repository.push(f"HEAD:refs/heads/{branch}")
        scene.live("one", ref=branch)
    repository.push("HEAD:refs/heads/second")
    scene.eventually(lambda: scene.state("shop", "second") == "built", "the second is built")
    scene.eventually(lambda: "memory" in scene.status("shop", "second")[0].why, "it says why")
    assert len(scene.services()) == 2
    assert ["wait", "shop/second"] in [[s.step, s.tenant] for s in scene.daemon.plan()]
    scene.end()
    is_idle_since(scene, time.time() - 3600, ["first"])
    scene.start()
    scene.live("one", ref="second")
    scene.eventually(lambda: len(scene.services()) == 2, "the first makes room")
    assert {one.state for one in scene.status("shop", "first") if one.name == "api"} == {"asleep"}
    visitor = Visitor(scene.authority)
    status, _ = visitor.get(scene.url("shop", ref="first"))
    visitor.close()
    assert status == 503
    repository.push(":refs/heads/second")
    scene.live("one", ref="first")
    scene.settle()


def is_idle_since(scene: "Scene", then: float, branches: Collection[str]) -> None:
    """Let branches have been used for the last time at a moment. Kennel must not be running."""
    with closing(sqlite3.connect(f"{scene.place.state}/kennel.db")) as store:
        change = "UPDATE tenants SET active_at = ? WHERE ref = ?"
        store.executemany(change, [(then, f"refs/heads/{branch}") for branch in branches])
        store.commit()
