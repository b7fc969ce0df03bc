"""Repositories with a devenv.nix, on a program that has devenv's interface.

devenv itself needs the network and half of nixpkgs; what stands in for it here is labelled so.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kennel.build.devenv import result
from kennel.errors import BuildError

KENNEL_JSON = {
    "services": {"api": {"custom_domain": None, "oidc": None}},
    "static_sites": {"docs": {"package_attr": "docs", "spa": False, "custom_domain": None}},
}

# Stands in for devenv: `devenv build scottylabs.kennel.config`, JSON as from 2.0 on.
STAND_IN = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
call = {{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}
call["files"] = sorted(os.listdir())
(here / "call.json").write_text(json.dumps(call))
pathlib.Path("devenv.lock").write_text("written by devenv")
print("Evaluating", file=sys.stderr)
if (here / "fails").exists():
    sys.exit("error: attribute 'kennel' missing")
print(json.dumps({{sys.argv[-1]: str(here / "result")}}, indent=2))
"""


@pytest.fixture
def devenv(tmp_path: Path) -> Path:
    """Give the folder of the stand-in: `call.json` is how it was called."""
    folder = tmp_path / "devenv"
    (folder / "result").mkdir(parents=True)
    (folder / "result/kennel.json").write_text(json.dumps(KENNEL_JSON))
    program = folder / "devenv"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    return folder


def using(workshop: Any, program: Path, **build: str) -> Any:
    table = msgspec.structs.replace(workshop.settings.build, devenv=str(program), **build)
    settings = msgspec.structs.replace(workshop.settings, build=table)
    return dataclasses.replace(workshop, settings=settings)


PACKAGES = 'api = program "api"; docs = make "docs" "mkdir $out; echo > $out/index.html";'


async def test_a_repository_says_through_devenv_what_to_deploy(
    workshop: Any, repository: Any, flake: Any, devenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "of Kennel itself")
    workshop = using(workshop, devenv / "devenv")
    files = {"flake.nix": flake(PACKAGES, ""), "devenv.nix": "{ }"}
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    assert set(build.outputs.paths) == {"api", "docs"}
    call = json.loads((devenv / "call.json").read_text())
    assert call["argv"] == ["build", "scottylabs.kennel.config"]
    assert call["files"] == ["devenv.nix", "flake.nix"]
    assert call["env"]["SECRETSPEC_PROVIDER"] == "null://"
    assert "VAULT_TOKEN" not in call["env"]
    assert not Path(call["cwd"]).exists()


async def test_another_organisations_option_is_asked(
    workshop: Any, repository: Any, flake: Any, devenv: Path
) -> None:
    workshop = using(workshop, devenv / "devenv", devenv_option="acme.kennel.config")
    files = {"flake.nix": flake(PACKAGES, ""), "devenv.nix": "{ }"}
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "built", build.reason
    call = json.loads((devenv / "call.json").read_text())
    assert call["argv"] == ["build", "acme.kennel.config"]


async def test_the_flakes_own_output_goes_first(
    workshop: Any, repository: Any, flake: Any, devenv: Path
) -> None:
    workshop = using(workshop, devenv / "devenv")
    files = {"flake.nix": flake(PACKAGES, "{ services.api = { }; }"), "devenv.nix": "{ }"}
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert [*build.manifest.services, *build.manifest.sites] == ["api"]
    assert not (devenv / "call.json").exists()


async def failure(workshop: Any, repository: Any, flake_nix: str | None) -> str:
    files = {"devenv.nix": "{ }"} | ({"flake.nix": flake_nix} if flake_nix else {})
    commit = repository.commit(files)
    build = await workshop.build(await workshop.project(str(repository.path)), commit)
    assert build.state == "failed"
    reason: str = build.reason
    return reason


async def test_without_devenv_it_says_what_to_install(
    workshop: Any, repository: Any, flake: Any, tmp_path: Path
) -> None:
    workshop = using(workshop, tmp_path / "no-devenv")
    reason = await failure(workshop, repository, flake(PACKAGES, ""))
    assert "has a devenv.nix and this machine has no" in reason
    assert "declare the flake output `kennel` instead" in reason


async def test_a_failure_of_devenv_is_a_failure(
    workshop: Any, repository: Any, flake: Any, devenv: Path
) -> None:
    (devenv / "fails").touch()
    workshop = using(workshop, devenv / "devenv")
    reason = await failure(workshop, repository, flake(PACKAGES, ""))
    assert reason == "devenv build failed:\nEvaluating\nerror: attribute 'kennel' missing"


async def test_a_missing_package_is_named(
    workshop: Any, repository: Any, flake: Any, devenv: Path
) -> None:
    workshop = using(workshop, devenv / "devenv")
    reason = await failure(workshop, repository, flake('api = program "api";', ""))
    assert reason == "docs: the flake has no package 'docs'; it has: api"


async def test_without_a_flake_there_is_nothing_to_build(
    workshop: Any, repository: Any, devenv: Path
) -> None:
    workshop = using(workshop, devenv / "devenv")
    assert "there is no flake.nix to build it" in await failure(workshop, repository, None)


async def test_a_result_without_kennel_json_is_told(
    workshop: Any, repository: Any, flake: Any, devenv: Path
) -> None:
    (devenv / "result/kennel.json").unlink()
    workshop = using(workshop, devenv / "devenv")
    reason = await failure(workshop, repository, flake(PACKAGES, ""))
    assert "kennel.json: No such file" in reason


PATH = "/nix/store/x-kennel-config"


@pytest.mark.parametrize(
    "output",
    [
        json.dumps({"scottylabs.kennel.config": PATH}, indent=2) + "\n",
        f"Building shell\n{json.dumps({'scottylabs.kennel.config': PATH})}\n",
        f"/nix/store/other\n{PATH}\n",
        f"{PATH}\n\n",
    ],
)
def test_what_either_devenv_prints(output: str) -> None:
    assert str(result(output, "scottylabs.kennel.config")) == PATH


@pytest.mark.parametrize("output", ["", "{}", "{", "no path here", '{"x": 1}'])
def test_anything_else_is_told(output: str) -> None:
    with pytest.raises(BuildError, match="names no store path"):
        result(output, "scottylabs.kennel.config")
