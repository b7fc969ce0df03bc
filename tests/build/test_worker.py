"""Pushes are built: from real repositories, by the real git and Nix."""

import asyncio
import dataclasses
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blockbuster import blockbuster_ctx
from sqlalchemy.exc import OperationalError

from kennel.catalogue import Catalogue
from kennel.domain import SecretSpec
from kennel.errors import Unavailable
from kennel.store import builds, tenants
from kennel.testing.cache import MemoryCache

Flake = Callable[..., str]
LONG = "x" * 200
EMPTY = "mkdir -p $out/bin; echo > $out/bin/api; chmod +x $out/bin/api"


async def test_a_commit_is_built(workshop: Any, repository: Any, simple_flake: str) -> None:
    commit = repository.commit({"flake.nix": simple_flake, "secretspec.toml": "[secrets]\n"})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    assert [*build.manifest.services] == ["api"]
    program = build.outputs.programs["api"]
    assert subprocess.check_output([program], text=True) == "api\n"
    assert program.startswith(build.outputs.paths["api"])
    assert workshop.built == 1
    assert build.secrets == SecretSpec()
    assert "=== built ===" in workshop.log(build.id)


async def test_what_a_commit_may_not_have_is_told_before_anything_is_built(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    packages = 'api = make "api" "echo never; exit 1";'
    secrets = '[secrets]\nA = { ref = { item = "secretspec/victim/prod/A" } }\nPATH = {}\n'
    files = {"flake.nix": flake(packages, "{ services.api = { }; }"), "secretspec.toml": secrets}
    project = await workshop.project(str(repository.path))
    build = await workshop.build(project, repository.commit(files))
    assert build.state == "failed"
    assert "secretspec.toml line 2: [secrets] A: ref: secretspec/victim/prod/A is" in build.reason
    assert "secretspec.toml line 3: [secrets] PATH" in build.reason
    assert "never" not in workshop.log(build.id)
    cycle = '[secrets]\nA = { composed = "${B}" }\nB = { composed = "${A}" }\n'
    commit = repository.commit({**files, "secretspec.toml": cycle})
    build = await workshop.build(project, commit)
    assert "composed secret cycle" in build.reason


async def test_what_cannot_be_had_here_is_told_before_anything_is_built(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    workshop.check = Catalogue().check
    packages = 'api = make "api" "echo never; exit 1";'
    kennel = "{ services.api = { }; resources.postgres.extensions = [ ]; }"
    commit = repository.commit({"flake.nix": flake(packages, kennel)})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "failed"
    assert build.reason.startswith("resources.postgres: is not to be had here; there is: none")
    assert "building" not in workshop.log(build.id)


async def test_services_sites_and_what_arguments_refer_to(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    packages = """
      server = program "backend" // { meta.mainProgram = "backend"; };
      book = make "book" "mkdir $out; echo hello > $out/index.html";
    """
    kennel = """{
      services.api = { package = "server"; args = [ "--data" "${make "data" "mkdir $out"}/x" ]; };
      sites.docs = { package = "book"; spa = true; };
      resources = [ "postgres" ];
    }"""
    commit = repository.commit({"flake.nix": flake(packages, kennel)})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    assert build.outputs.programs["api"].endswith("/bin/backend")
    assert (Path(build.outputs.paths["book"]) / "index.html").read_text() == "hello\n"
    data = Path(build.manifest.services["api"].args[1]).parent
    assert data.is_dir()
    assert build.manifest.resources == {"postgres": {}}
    assert "building book, server" in workshop.log(build.id)


async def test_a_release_command_is_built_besides(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    packages = 'api = program "api"; tools = program "migrate";'
    kennel = """{
      services.api = { schedule = "daily"; };
      release = { package = "tools"; args = [ "${make "data" "mkdir $out"}" ]; };
    }"""
    commit = repository.commit({"flake.nix": flake(packages, kennel)})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    assert subprocess.check_output([build.outputs.release], text=True) == "migrate\n"
    assert build.outputs.release.startswith(build.outputs.paths["tools"])
    assert Path(build.manifest.release.args[0]).is_dir()


async def test_outputs_outlive_a_garbage_collection(
    workshop: Any, repository: Any, flake: Flake, nix_store: Mapping[str, str]
) -> None:
    kennel = '{ services.api.args = [ "${make "data" "mkdir $out"}" ]; }'
    commit = repository.commit({"flake.nix": flake('api = program "api";', kennel)})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **nix_store}
    subprocess.run(["nix-store", "--gc"], env=env, check=True, capture_output=True)
    assert Path(build.outputs.programs["api"]).exists()
    assert Path(build.manifest.services["api"].args[0]).exists()
    links = workshop.places.roots / str(build.id)
    for link in links.iterdir():
        link.unlink()
    subprocess.run(["nix-store", "--gc"], env=env, check=True, capture_output=True)
    assert not Path(build.outputs.programs["api"]).exists()


async def failure(workshop: Any, repository: Any, files: Mapping[str, str]) -> str:
    """Commit these files and return why their build failed."""
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "failed", build
    assert workshop.built == 0
    assert build.reason.splitlines()[-1] in workshop.log(build.id)
    reason: str = build.reason
    return reason


async def test_a_syntax_error_is_a_failure_with_its_place(workshop: Any, repository: Any) -> None:
    reason = await failure(workshop, repository, {"flake.nix": "{\n  outputs = { self }: (;\n}\n"})
    assert "syntax error, unexpected ';'" in reason
    assert "flake.nix:2:" in reason
    assert "\x1b" not in reason
    assert "/store/" not in reason


async def test_nothing_to_deploy_is_a_failure_that_says_what_to_write(
    workshop: Any, repository: Any
) -> None:
    reason = await failure(workshop, repository, {"README": "hello"})
    assert "no flake.nix with an output `kennel`" in reason
    assert "kennel.services.api = { };" in reason


async def test_a_flake_without_the_output_says_what_to_write(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    files = {"flake.nix": flake('api = program "api";', "")}
    assert "kennel.services.api = { };" in await failure(workshop, repository, files)


async def test_an_empty_declaration_is_a_failure(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    files = {"flake.nix": flake('api = program "api";', "{ services = { }; }")}
    assert "nothing is declared" in await failure(workshop, repository, files)


@pytest.mark.parametrize(
    ("kennel", "words"),
    [
        ("{ services.api = { }; sites.api = { }; }", "services and sites both have 'api'"),
        ("{ services.web = { }; }", "web: the flake has no package 'web'; it has: api, bad, word"),
        ("{ services.apj = { }; }", "apj: the flake has no package 'apj'; did you mean 'api'?"),
        ("{ services.word = { }; }", "the package 'word' is no derivation"),
        ('{ services.api.prot = "1"; }', "services.api.prot: unknown key"),
        ("[ ]", "kennel.json: must be an object, not a list"),
        ("{ services = [ 1 ]; sites = 7; }", "services: must be an object, not a list"),
        ("{ services.api = x: x; }", "function"),
        ('throw "not today"', "not today"),
        ('{ services.api.package = "bad"; }', "bad/bin has"),
        (
            '{ services.api = { }; release.package = "apj"; }',
            "release: the flake has no package 'apj'; did you mean 'api'?",
        ),
        ('{ services.api = { }; release.package = "bad"; }', "release: which program of its"),
        ("{ services.web = { }; release = { }; }", "web: the flake has no package 'web'; it has:"),
        ("{ services.api = { }; release = 7; }", "release: must be an object, not 7"),
        ("{ services.api = { }; release.package = 7; }", "release.package: must be the name of"),
    ],
)
async def test_a_wrong_declaration_is_told(
    workshop: Any, repository: Any, flake: Flake, kennel: str, words: str
) -> None:
    packages = 'api = program "api"; bad = make "bad" "mkdir -p $out"; word = "a string";'
    files = {"flake.nix": flake(packages, kennel)}
    reason = await failure(workshop, repository, files)
    assert words.replace("bad/bin", "bin/") in reason


async def test_a_program_is_not_guessed(workshop: Any, repository: Any, flake: Flake) -> None:
    script = "mkdir -p $out/bin; cd $out/bin; echo > activate; echo > alembic; chmod +x *"
    files = {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}
    reason = await failure(workshop, repository, files)
    assert "bin/ has activate, alembic; set meta.mainProgram" in reason


async def test_a_failing_build_quotes_the_end_of_its_log(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    script = "for i in $(seq 100); do echo step $i; done; echo no such header >&2; exit 3"
    packages = f'api = make "api-1.0" "{script}"; web = program "web";'
    files = {"flake.nix": flake(packages, "{ services.api = { }; services.web = { }; }")}
    reason = await failure(workshop, repository, files)
    assert "failed with exit code 3" in reason
    assert "the last lines of api:" in reason
    assert reason.splitlines()[-1] == "  no such header"
    log = workshop.log(1)
    assert "[api] step 1\n" in log
    assert "building 1/2: " in log


async def test_bytes_that_are_no_text_harm_nothing(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    script = rf"printf 'caf\\351 \\033[31mred\\000\\n'; {EMPTY}"
    files = {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    assert "caf" in workshop.log(build.id)


async def test_a_flake_without_a_lock_for_its_inputs_says_what_to_commit(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    inputs = 'inputs.dep.url = "github:acme/nowhere";'
    files = {"flake.nix": flake('api = program "api";', "{ services.api = { }; }", inputs)}
    reason = await failure(workshop, repository, files)
    assert "nix flake lock" in reason


async def test_a_flakes_own_settings_are_not_used(
    workshop: Any, repository: Any, simple_flake: str, tmp_path: Path
) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    text = simple_flake.replace(
        "outputs =", f'nixConfig.post-build-hook = "{hook}";\n  outputs =', 1
    )
    build = await workshop.build(
        await workshop.project(str(repository.path)), repository.commit({"flake.nix": text})
    )
    assert build.state == "built", build.reason
    assert not (tmp_path / "hooked").exists()


async def test_builds_see_nothing_of_kennels_environment(
    workshop: Any, repository: Any, flake: Flake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "s3cret-of-kennel")
    packages = 'api = program "api${builtins.getEnv "VAULT_TOKEN"}";'
    kennel = '{ services.api.args = [ "${builtins.getEnv "VAULT_TOKEN"}" ]; }'
    commit = repository.commit({"flake.nix": flake(packages, kennel)})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.manifest.services["api"].args == ("",)
    assert "s3cret" not in workshop.log(build.id)


async def test_evaluation_cannot_read_files_of_the_host(
    workshop: Any, repository: Any, flake: Flake, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s3cret")
    kennel = f'{{ services.api.args = [ (builtins.readFile "{tmp_path}/secret") ]; }}'
    reason = await failure(
        workshop, repository, {"flake.nix": flake('api = program "api";', kennel)}
    )
    assert "s3cret" not in reason


def with_build(workshop: Any, **changed: object) -> Any:
    """Return the workshop with other settings of builds."""
    table = msgspec.structs.replace(workshop.settings.build, **changed)
    settings = msgspec.structs.replace(workshop.settings, build=table)
    return dataclasses.replace(workshop, settings=settings)


def sleeper(tmp_path: Path, flake: Flake) -> dict[str, str]:
    """Return a flake whose build says that it runs, by its number, and then takes ten minutes."""
    (tmp_path / "running").mkdir(exist_ok=True)
    script = f"touch {tmp_path}/running/$$; sleep 300 & echo sleeping; sleep 300; sleep 300"
    return {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}


def running(tmp_path: Path) -> list[str]:
    """Return the command lines of builds of `sleeper` that run."""
    found = []
    for mark in (tmp_path / "running").iterdir():
        try:
            found.append(Path(f"/proc/{mark.name}/cmdline").read_text())
        except OSError:
            continue
    return [command for command in found if command]


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_build_that_takes_too_long_is_ended(
    workshop: Any, repository: Any, flake: Flake, tmp_path: Path
) -> None:
    commit = repository.commit(sleeper(tmp_path, flake))
    workshop = with_build(workshop, timeout=3.0)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "failed"
    assert build.reason == "it took longer than 3 s (build.timeout) while building api"
    assert "[api] sleeping" in workshop.log(build.id)
    assert [*(tmp_path / "running").iterdir()]
    await until(lambda: running(tmp_path) == [])


async def test_a_cancelled_build_is_ended_with_its_children(
    workshop: Any, repository: Any, flake: Flake, tmp_path: Path
) -> None:
    commit = repository.commit(sleeper(tmp_path, flake))
    project = await workshop.project(str(repository.path))
    number = await workshop.queue(project, commit)
    async with workshop.working() as worker:
        await until(lambda: running(tmp_path))
        await workshop.store.write(
            lambda db: builds.cancelled(db, number, reason="by Ada", now=2.0)
        )
        worker.wake()
        await until(lambda: running(tmp_path) == [])
    build = await workshop.get(number)
    assert (build.state, build.reason) == ("cancelled", "by Ada")
    assert "=== cancelled ===" in workshop.log(number)


async def test_a_newer_push_ends_the_build_of_an_older_one(
    workshop: Any, repository: Any, flake: Flake, simple_flake: str, tmp_path: Path
) -> None:
    old = repository.commit(sleeper(tmp_path, flake))
    project = await workshop.project(str(repository.path))
    first = await workshop.queue(project, old)
    async with workshop.working() as worker:
        await until(lambda: running(tmp_path))
        new = repository.commit({"flake.nix": simple_flake})
        second = await workshop.queue(project, new)
        worker.wake()
        await until(lambda: running(tmp_path) == [], seconds=8)
        assert (await workshop.over(second)).state == "built"
    build = await workshop.get(first)
    assert (build.state, build.reason) == ("cancelled", f"superseded by {new[:12]}")


async def test_a_late_delivery_does_not_take_a_ref_back(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    old = repository.commit({"flake.nix": simple_flake})
    new = repository.commit({"more": "text"})
    project = await workshop.project(str(repository.path))
    late = await workshop.queue(project, old)
    async with workshop.working():
        assert (await workshop.over(late)).reason == f"superseded by {new[:12]}"
        latest = await workshop.over(late + 1)
    assert (latest.commit, latest.state, latest.trusted) == (new, "built", True)


@pytest.mark.parametrize("back", [True, False])
async def test_a_force_push_is_followed(
    workshop: Any, repository: Any, simple_flake: str, back: bool
) -> None:
    base = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    assert (await workshop.build(project, base)).state == "built"
    assert (await workshop.build(project, repository.commit({"more": "text"}))).state == "built"
    repository.git("reset", "-q", "--hard", base)
    commit = base if back else repository.commit({"other": "text"})
    build = await workshop.build(project, commit)
    assert (build.commit, build.state) == (commit, "built")


async def test_whatever_is_the_head_is_built_when_nobody_names_a_commit(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    build = await workshop.build(project, builds.HEAD)
    assert (build.commit, build.state) == (commit, "built")


async def test_a_ref_that_is_gone_cancels_its_build(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    repository.commit({"flake.nix": simple_flake}, "feature/x")
    repository.git("checkout", "-q", "main")
    repository.git("branch", "-D", "feature/x")
    project = await workshop.project(str(repository.path))
    build = await workshop.build(project, commit, "feature/x")
    assert build.state == "cancelled"
    assert build.reason == f"feature/x is gone from {repository.path}"
    assert await workshop.store.read(tenants.every) == []  # nothing was ever built of it


async def test_previews_can_be_declined(workshop: Any, repository: Any, simple_flake: str) -> None:
    declined = simple_flake.replace("kennel = {", "kennel = { previews = false;", 1)
    assert declined != simple_flake
    commit = repository.commit({"flake.nix": declined})
    other = repository.commit({"flake.nix": declined}, "feature")
    project = await workshop.project(str(repository.path))
    assert (await workshop.build(project, commit)).state == "built"
    preview = await workshop.build(project, other, "feature")
    assert (preview.state, preview.reason) == ("cancelled", "the manifest says previews = false")


async def test_refs_with_strange_names(workshop: Any, repository: Any, simple_flake: str) -> None:
    project = await workshop.project(str(repository.path))
    names = [
        LONG,
        f"{LONG}y/{LONG}",
        "a",
        "feature/ünïcode-分支",
        "-rf",
        "--upload-pack=touch${IFS}x",
        "it's;$(reboot)&`x`",
        "pr-42",
        "100%25&rev=x#y+z",
    ]
    numbers = []
    for name in names:
        commit = repository.commit({"flake.nix": simple_flake, "name": name}, f"{name}")
        numbers.append(await workshop.queue(project, commit, f"refs/heads/{name}"))
    async with workshop.working():
        for number in numbers:
            build = await workshop.over(number)
            assert build.state == "built", (build.tenant, build.reason)


async def test_a_branch_may_be_replaced_by_one_inside_it(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project = await workshop.project(str(repository.path))
    first = repository.commit({"flake.nix": simple_flake}, "a")
    assert (await workshop.build(project, first, "a")).state == "built"
    repository.commit({}, "main")
    repository.git("branch", "-D", "a")
    second = repository.commit({"flake.nix": simple_flake}, "a/b")
    assert (await workshop.build(project, second, "a/b")).state == "built"


async def test_pull_requests_are_fetched_as_such(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    commit = repository.commit({"flake.nix": simple_flake}, "feature")
    repository.git("update-ref", "refs/pull/42/head", commit)
    other = repository.commit({"flake.nix": simple_flake, "x": "a branch"}, "pr-42")
    project = await workshop.project(str(repository.path))
    assert (await workshop.build(project, commit, "pr-42")).commit == commit
    build = await workshop.build(project, other, "heads/pr-42")
    assert (build.commit, build.state) == (other, "built")


async def test_projects_are_built_side_by_side(
    workshop: Any, make_repository: Any, flake: Flake, tmp_path: Path
) -> None:
    numbers = []
    for name in ("one", "two", "three"):
        repository = make_repository(name)
        files = sleeper(tmp_path, flake)
        commit = repository.commit(
            {**files, "name": name, "flake.nix": files["flake.nix"] + f"# {name}"}
        )
        script = files["flake.nix"].replace('make "api"', f'make "{name}"')
        commit = repository.commit({"flake.nix": script})
        project = await workshop.project(str(repository.path), name)
        numbers.append(await workshop.queue(project, commit))
    async with workshop.working():
        await until(lambda: len(running(tmp_path)) == 2)
        assert (await workshop.get(numbers[2])).state == "queued"
    assert running(tmp_path) == []


async def test_stopping_puts_builds_back_into_the_queue(
    workshop: Any, repository: Any, flake: Flake, tmp_path: Path
) -> None:
    commit = repository.commit(sleeper(tmp_path, flake))
    number = await workshop.queue(await workshop.project(str(repository.path)), commit)
    worker = workshop.worker()
    task = asyncio.create_task(worker.run())
    await until(lambda: running(tmp_path))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.stop()
    assert running(tmp_path) == []
    assert (await workshop.get(number)).state == "queued"


async def test_a_host_that_is_away_is_tried_again(
    workshop: Any, repository: Any, simple_flake: str, unused_tcp_port: int
) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(f"git://127.0.0.1:{unused_tcp_port}/shop")
    number = await workshop.queue(project, commit)
    async with workshop.working():
        await workshop.reaches(number, "building")
        log = workshop.places.log(number)
        await until(lambda: log.exists() and "trying again" in log.read_text())
        daemon = await asyncio.create_subprocess_exec(
            *("git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1"),
            *(f"--port={unused_tcp_port}", f"--base-path={repository.path.parent}"),
            str(repository.path.parent),
        )
        try:
            build = await workshop.over(number)
        finally:
            subprocess.run(["pkill", "-P", str(daemon.pid)], check=False)
            daemon.terminate()
            await daemon.wait()
    assert build.state == "built", build.reason


async def test_a_host_that_stays_away_fails_the_build(
    workshop: Any, repository: Any, unused_tcp_port: int
) -> None:
    commit = repository.commit({})
    workshop = with_build(workshop, timeout=4.0)
    url = f"http://127.0.0.1:{unused_tcp_port}/shop"
    build = await workshop.build(await workshop.project(url), commit)
    assert build.state == "failed"
    assert f"while waiting for the repository: {url} cannot be reached" in build.reason


async def test_only_trusted_builds_are_pushed_and_a_cache_that_fails_harms_nothing(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    good, broken = MemoryCache(), MemoryCache()
    broken.problem = Unavailable("away")
    workshop.caches = {"broken": broken, "memory": good}
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    repository.git("update-ref", "refs/pull/1/head", commit)
    untrusted = await workshop.queue(project, commit, "pr-1", trusted=False)
    trusted = await workshop.queue(project, commit)
    async with workshop.working():
        assert (await workshop.over(untrusted)).state == "built"
        build = await workshop.over(trusted)
        await until(lambda: good.pushes)
    assert good.pushes == [(build.outputs.paths["api"],)]
    assert {path.name for path in workshop.places.homes.iterdir()} >= {"shop", "shop.untrusted"}


async def test_a_log_is_capped(workshop: Any, repository: Any, flake: Flake) -> None:
    script = f"seq 200000; {EMPTY}"
    files = {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}
    workshop = with_build(workshop, log_max_bytes=65536)
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    log = workshop.log(build.id)
    assert len(log) < 66_000
    assert log.startswith("=== fetching main of acme/shop ===")
    assert "[api] 200000\n" in log
    assert log.endswith("=== built ===\n")


async def test_outputs_that_nobody_needs_are_released(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    stray = workshop.places.roots / "999"
    stray.mkdir(parents=True)
    commit = repository.commit({"flake.nix": simple_flake})
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    async with workshop.working():
        await until(lambda: not stray.exists())
    assert (workshop.places.roots / str(build.id)).exists()


async def test_a_second_build_evaluates_with_warm_caches_and_is_quick(
    workshop: Any, repository: Any, simple_flake: str
) -> None:
    project = await workshop.project(str(repository.path))
    first = repository.commit({"flake.nix": simple_flake})
    assert (await workshop.build(project, first)).state == "built"
    second = await workshop.queue(project, repository.commit({"more": "text"}))
    async with workshop.working():
        build = await workshop.over(second)
    assert build.state == "built"
    assert build.built_at is not None
    assert build.started_at is not None
    assert build.built_at - build.started_at < 5


async def test_a_killed_kennel_leaves_nothing_that_the_next_one_does_not_end(
    workshop: Any, repository: Any, flake: Flake, simple_flake: str, tmp_path: Path
) -> None:
    commit = repository.commit(sleeper(tmp_path, flake))
    number = await workshop.queue(await workshop.project(str(repository.path)), commit)
    kennel = workshop.process(tmp_path)
    await until(lambda: running(tmp_path))
    kennel.kill()
    kennel.wait()
    left = workshop.places.checkouts / "1"
    left.mkdir()
    assert (await workshop.get(number)).state == "building"
    await until(lambda: running(tmp_path) == [])
    repository.commit({"flake.nix": simple_flake})
    async with workshop.working():
        assert (await workshop.over(number)).state == "cancelled"
        assert (await workshop.over(number + 1)).state == "built"
    assert not left.exists()


async def test_the_event_loop_is_never_blocked(
    workshop: Any, repository: Any, flake: Flake
) -> None:
    script = f"seq 5000; {EMPTY}"
    files = {"flake.nix": flake(f'api = make "api" "{script}";', "{ services.api = { }; }")}
    commit = repository.commit({**files, "secretspec.toml": ""})
    project = await workshop.project(str(repository.path))
    number = await workshop.queue(project, commit)
    with blockbuster_ctx("kennel"):
        async with workshop.working():
            build = await workshop.over(number)
    assert build.state == "built", build.reason


async def test_what_could_not_be_recorded_is_built_again(
    workshop: Any, repository: Any, simple_flake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ref would be blocked until a restart: there is one build of a ref at a time."""
    record, left = builds.built, iter([True])

    def away(*words: Any, **named: Any) -> bool:
        if next(left, False):
            raise OperationalError("UPDATE", {}, Exception("the database is away"))
        return record(*words, **named)

    monkeypatch.setattr(builds, "built", away)
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    assert (await workshop.build(project, commit)).state == "built"
