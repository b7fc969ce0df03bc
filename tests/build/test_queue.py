"""What waits to be built is built, once, and what is built is kept from that moment on."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kennel.build import worker
from kennel.store import builds

Flake = Callable[..., str]


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_lost_wake_up_delays_a_build_and_no_more(
    workshop: Any, repository: Any, simple_flake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "EVERY", 0.2)
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    async with workshop.working():
        await asyncio.sleep(0.5)
        number = await workshop.queue(project, commit)  # and nobody says so
        assert (await workshop.over(number)).state == "built"


async def test_looking_into_the_queue_puts_nothing_back_that_is_being_built(
    workshop: Any, repository: Any, flake: Flake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "EVERY", 0.05)
    script = (
        f"echo >> {tmp_path}/runs; while ! test -e {tmp_path}/go; do sleep 0.05; done;"
        " mkdir -p $out/bin; echo > $out/bin/api; chmod +x $out/bin/api"
    )
    files = {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}
    commit = repository.commit(files)
    number = await workshop.queue(await workshop.project(str(repository.path)), commit)
    async with workshop.working() as working:
        await until((tmp_path / "runs").exists)
        started = (await workshop.get(number)).started_at
        for _ in range(10):
            working.wake()
            await asyncio.sleep(0.05)
        (tmp_path / "go").touch()
        build = await workshop.over(number)
    assert (build.state, build.started_at) == ("built", started)
    assert (tmp_path / "runs").read_text() == "\n"


async def test_what_is_running_is_not_taken_for_lost(workshop: Any, repository: Any) -> None:
    project = await workshop.project(str(repository.path))
    numbers = [await workshop.queue(project, f"{n:040x}", f"b{n}") for n in (1, 2)]
    for _ in numbers:
        await workshop.store.write(partial(builds.claim, now=3.0))
    recover = partial(builds.recover, running={numbers[0]})
    assert await workshop.store.write(recover) == [numbers[1]]
    assert (await workshop.get(numbers[0])).state == "building"


async def test_outputs_are_kept_before_they_are_recorded_as_built(
    workshop: Any, repository: Any, simple_flake: str, tmp_path: Path
) -> None:
    """The garbage may be collected at any moment."""
    commit = repository.commit({"flake.nix": simple_flake})
    number = await workshop.queue(await workshop.project(str(repository.path)), commit)
    kennel = workshop.process(tmp_path, KENNEL_CRASH_AT="packages-built")
    await until(lambda: kennel.poll() is not None)
    assert (await workshop.get(number)).state == "building"
    assert "=== building api ===" in workshop.log(number)  # and what it said is there
    store = workshop.settings.build.environment
    collect = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **store}
    subprocess.run(["nix-store", "--gc"], env=collect, check=True, capture_output=True)
    link: Path = next((workshop.places.roots / str(number)).iterdir())
    assert (link / "bin/api").exists()


async def test_a_package_of_several_outputs_is_one_path(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    package = """(derivation {
      name = "api";
      system = "SYSTEM";
      builder = "/bin/sh";
      outputs = [ "out" "doc" ];
      PATH = "/usr/bin:/bin:/run/current-system/sw/bin";
      args = [ "-c" "mkdir -p $out/bin $doc; echo > $out/bin/api; chmod +x $out/bin/api" ];
    })""".replace("SYSTEM", f"{os.uname().machine}-linux")
    files = {"flake.nix": flake(f"api = {package};", "{ services.api = { }; }")}
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    path = Path(build.outputs.paths["api"])
    assert path.is_dir()
    assert path.name.endswith("-api")
    assert build.outputs.programs["api"] == f"{path}/bin/api"
