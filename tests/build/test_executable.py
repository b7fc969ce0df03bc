"""Which program of a package is the one to run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kennel.build.executable import outputs, program
from kennel.domain import Manifest, Release, Seed, Service, Site
from kennel.errors import ManifestError


def package(folder: Path, *names: str, plain: str = "") -> Path:
    (folder / "bin").mkdir(parents=True)
    for name in names:
        (folder / "bin" / name).write_text("#!/bin/sh\n")
        (folder / "bin" / name).chmod(0o755)
    if plain:
        (folder / "bin" / plain).write_text("not executable")
    return folder


def test_the_main_program_goes_first(tmp_path: Path) -> None:
    path = package(tmp_path, "activate", "api", "server")
    assert program("api", path, "server") == path / "bin/server"


def test_then_the_one_named_like_the_service(tmp_path: Path) -> None:
    path = package(tmp_path, "activate", "alembic", "api")
    assert program("api", path, None) == path / "bin/api"


def test_then_the_only_one(tmp_path: Path) -> None:
    path = package(tmp_path, "backend", ".backend-wrapped", plain="README")
    assert program("api", path, None) == path / "bin/backend"


def test_never_the_first_of_the_alphabet(tmp_path: Path) -> None:
    path = package(tmp_path, "activate", "alembic", "uvicorn")
    with pytest.raises(ManifestError, match=r"activate, alembic, uvicorn; set meta\.mainProgram"):
        program("api", path, None)


def test_a_main_program_that_is_not_there_is_not_guessed(tmp_path: Path) -> None:
    path = package(tmp_path, "api")
    with pytest.raises(ManifestError, match=r"meta\.mainProgram is 'serve', but bin/ has api"):
        program("api", path, "serve")


def test_a_package_may_be_a_single_program(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert program("api", script, None) == script


def test_a_package_without_programs_says_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="bin/ has no programs"):
        program("api", tmp_path, None)


def manifest(*sites: str, services: Mapping[str, str] | None = None) -> Manifest:
    return Manifest(
        services={n: Service(name=n, package=p) for n, p in (services or {}).items()},
        sites={name: Site(name=name, package=name) for name in sites},
    )


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file")
    with pytest.raises(ManifestError) as raised:
        outputs(manifest("docs", services={"api": "server"}), {"server": path, "docs": path}, {})
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("services.api: which program of its package should run?")
    assert lines[1] == f"sites.docs: {path} is not a folder of files"


def test_a_release_command_is_chosen_as_its_service_is(tmp_path: Path) -> None:
    server = package(tmp_path / "server", "api", "worker")
    tools = package(tmp_path / "tools", "migrate")
    paths = {"server": str(server), "tools": str(tools)}
    one = replace(
        manifest(services={"api": "server"}), release=Release(service="api", package="server")
    )
    assert outputs(one, paths, {})[0].release == str(server / "bin/api")
    assert outputs(one, paths, {"server": "worker"})[0].release == str(server / "bin/worker")
    other = replace(one, release=Release(service="api", package="tools"))
    given, _ = outputs(other, paths, {})
    assert given.release == str(tools / "bin/migrate")
    assert given.programs == {"api": str(server / "bin/api")}


def test_a_seed_command_is_chosen_so_too(tmp_path: Path) -> None:
    server = package(tmp_path / "server", "api", "seed")
    one = replace(manifest(services={"api": "server"}), seed=Seed(service="api", package="server"))
    given, _ = outputs(one, {"server": str(server)}, {})
    assert (given.seed, given.release) == (str(server / "bin/api"), None)


def test_a_release_command_without_a_program_says_so(tmp_path: Path) -> None:
    server = package(tmp_path / "server", "api")
    tools = package(tmp_path / "tools", "up", "down")
    one = replace(
        manifest(services={"api": "server"}), release=Release(service="api", package="tools")
    )
    with pytest.raises(ManifestError, match=r"^release: which program .* bin/ has down, up"):
        outputs(one, {"server": str(server), "tools": str(tools)}, {})


def test_a_service_may_be_called_release(tmp_path: Path) -> None:
    server = package(tmp_path / "server", "x")
    given, _ = outputs(manifest(services={"release": "server"}), {"server": str(server)}, {})
    assert given.programs == {"release": str(server / "bin/x")}
    assert given.release is None


def test_a_site_without_an_index_is_warned_of(tmp_path: Path) -> None:
    given, warnings = outputs(manifest("docs"), {"docs": str(tmp_path)}, {})
    assert given.paths == {"docs": str(tmp_path)}
    assert warnings == [f"warning: site docs: there is no index.html in {tmp_path}"]
    (tmp_path / "index.html").write_text("")
    assert outputs(manifest("docs"), {"docs": str(tmp_path)}, {})[1] == []
