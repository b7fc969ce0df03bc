"""examples/hello_resources, pushed: a database, a cache and a bucket, on the real servers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from kennel.testing.garage import GarageServer, garage_server
from kennel.testing.missing import missing
from kennel.testing.postgresql import PostgresqlServer, postgresql, rows
from kennel.testing.repository import Repository
from kennel.testing.scene import Scene, process_scene
from kennel.testing.valkey import ValkeyServer, valkey_server
from tests.e2e.test_lost_webhooks import kennel

pytestmark = pytest.mark.timeout(1200)  # a Garage that is still being built is waited for

EXAMPLE = Path(__file__).parents[2] / "examples/hello_resources"
FIRST = "Hello from Kennel"
PLUGINS = """
[plugins.postgres]
socket_dir = "{postgres.folder}"
user = "postgres"
programs = "{postgres.programs}"

[plugins.valkey]
url = "file:{place}/valkey-url"

[plugins.garage]
admin_token = "file:{place}/garage-token"
admin_url = "{garage.admin}"
endpoint = "{garage.s3}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    postgres: PostgresqlServer
    valkey: ValkeyServer
    garage: GarageServer

    def everything(self) -> dict[str, Any]:
        """Return the names of what each of them has that could be Kennel's."""
        databases = rows(self.postgres.url, "SELECT datname FROM pg_database")
        roles = rows(self.postgres.url, "SELECT rolname FROM pg_roles")
        aliases = [one["globalAliases"] for one in self.garage.ask("ListBuckets")]
        return {
            "databases": {name for (name,) in databases if name.startswith("kennel")},
            "roles": {name for (name,) in roles if name.startswith("kennel")},
            "buckets": {name for names in aliases for name in names},
            "keys": {one["name"] for one in self.garage.ask("ListKeys")},
        }


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(
            postgres=stack.enter_context(postgresql()),
            valkey=stack.enter_context(valkey_server("valkey-8")),
            garage=stack.enter_context(garage_server()),
        )


@pytest.fixture
def scene(servers: Servers) -> Iterator[Scene]:
    for program in ("git", "nix"):
        if shutil.which(program) is None:
            missing(f"no {program} here")
    with process_scene() as scene:
        root = scene.place.root
        for name, secret in (
            ("valkey-url", servers.valkey.url),
            ("garage-token", servers.garage.token),
        ):
            (root / name).write_text(secret)
            (root / name).chmod(0o600)
        said = PLUGINS.format(place=root, postgres=servers.postgres, garage=servers.garage)
        scene.place.config.write_text(scene.place.config.read_text() + said)
        scene.start()
        yield scene


def commit(repository: Repository, version: str) -> None:
    """Commit the example. It is run by who runs the tests, who has what it imports."""
    program = (EXAMPLE / "notes/bin/notes").read_text()
    first, _, rest = program.partition("\n")
    assert first == "#!/usr/bin/env python3"
    script = f"#!{sys.executable}\n" + rest.replace('VERSION = "one"', f'VERSION = "{version}"')
    repository.git("rm", "-r", "-q", "--ignore-unmatch", "api", "docs", "kennel.json")
    repository.commit({"flake.nix": (EXAMPLE / "flake.nix").read_text(), "notes/bin/notes": script})


def notes(scene: Scene, ref: str = "main") -> dict[str, Any]:
    """Return what the service of a ref says, nothing where it does not answer."""
    answer = scene.answer(scene.url("shop", "notes", ref))
    return dict(json.loads(answer)) if answer else {}


def live(scene: Scene, version: str, ref: str = "main") -> dict[str, Any]:
    scene.eventually(lambda: notes(scene, ref).get("version") == version, f"{ref} is {version}")
    return notes(scene, ref)


def add(scene: Scene, text: str, ref: str = "main") -> None:
    url = httpx.URL(scene.url("shop", "notes", ref))
    with httpx.Client(verify=False, trust_env=False, timeout=30) as client:
        posted = client.post(
            url.copy_with(host="127.0.0.1"),
            content=text,
            headers={"Host": url.netloc.decode()},
            extensions={"sni_hostname": url.host},
        )
    assert posted.status_code == 201


def test_what_one_version_keeps_the_next_one_finds_and_nobody_else(
    scene: Scene, servers: Servers
) -> None:
    repository = scene.repository()
    commit(repository, "one")
    repository.push()
    assert live(scene, "one")["notes"] == [], "production is not seeded"
    add(scene, "kept")
    before = notes(scene)
    assert (before["notes"], before["files"]) == (["kept"], 1)
    main = servers.everything()
    assert {len(names) for names in main.values()} == {1}

    commit(repository, "two")
    repository.push()
    after = live(scene, "two")
    assert (after["notes"], after["files"]) == (["kept"], 1)
    assert after["read"] > before["read"], "the cache is the same, too"
    assert servers.everything() == main

    repository.push("HEAD:refs/heads/fix")
    preview = live(scene, "two", "fix")
    assert (preview["notes"], preview["files"]) == ([FIRST], 1)
    add(scene, "only here", "fix")
    assert notes(scene)["notes"] == ["kept"]
    told = json.loads(kennel(scene, "resources", "--json"))
    assert told["unreachable"] == {}
    assert {(one["resource"], one["ref"]) for one in told["resources"]} == {
        (name, ref) for name in ("garage", "postgres", "valkey") for ref in ("main", "fix")
    }

    repository.push(":refs/heads/fix")
    scene.eventually(lambda: servers.everything() == main, "nothing of fix is left")
    assert notes(scene)["notes"] == ["kept"]
    log = scene.place.log.read_text()
    for secret in (servers.garage.token, servers.valkey.url):
        assert secret not in log


def test_killed_at_any_step_of_providing_it_leaks_nothing_and_loses_nothing(
    scene: Scene, servers: Servers
) -> None:
    repository = scene.repository()
    commit(repository, "one")
    repository.push()
    live(scene, "one")
    add(scene, "kept")
    main = servers.everything()
    for place in ("resources-noted", "resources-ensured", "generations-recorded"):
        scene.end()
        scene.start(KENNEL_CRASH_AT=place)
        repository.push("HEAD:refs/heads/fix")
        scene.eventually(scene.has_died, f"it reaches {place}")
        scene.start()
        assert live(scene, "one", "fix")["notes"] == [FIRST]
        repository.push(":refs/heads/fix")
        scene.eventually(lambda: servers.everything() == main, "nothing of fix is left")
    for place in ("resource-removed", "resource-removed:3", "resources-removed"):
        repository.push("HEAD:refs/heads/fix")
        assert live(scene, "one", "fix")["notes"] == [FIRST]
        scene.end()
        scene.start(KENNEL_CRASH_AT=place)
        live(scene, "one", "fix")
        repository.push(":refs/heads/fix")
        scene.eventually(scene.has_died, f"it reaches {place}")
        scene.start()
        scene.eventually(lambda: servers.everything() == main, "nothing of fix is left")
    assert live(scene, "one")["notes"] == ["kept"]
    scene.eventually(lambda: scene.status("shop", "fix") == [], "and nothing is known of it")


def test_a_restore_brings_back_what_a_backup_kept(scene: Scene, servers: Servers) -> None:
    repository = scene.repository()
    commit(repository, "one")
    repository.push()
    live(scene, "one")
    add(scene, "kept")
    assert "kennel_shop_main" in kennel(scene, "postgres", "backup", "shop", "main")
    add(scene, "too late")
    kennel(scene, "postgres", "restore", "shop", "main", "--yes")
    scene.eventually(lambda: notes(scene).get("notes") == ["kept"], "it is as it was")
    add(scene, "it goes on")
    assert notes(scene)["notes"] == ["kept", "it goes on"]


def test_a_resource_that_is_not_on_fails_the_build_and_says_who_does_what(
    scene: Scene,
) -> None:
    repository = scene.repository()
    commit(repository, "one")
    flake = (EXAMPLE / "flake.nix").read_text().replace('"garage"', '"mysql"')
    repository.commit({"flake.nix": flake})
    repository.push()
    scene.eventually(lambda: scene.state("shop") == "failed", "the build fails")
    build = scene.newest("shop")
    assert build is not None
    assert "mysql" in build.reason
    assert "garage, postgres, valkey" in build.reason


def test_it_is_what_its_readme_says() -> None:
    text = (EXAMPLE / "README.md").read_text()
    for name in ("psycopg", "valkey", "boto3"):
        assert name in text
    assert os.access(EXAMPLE / "notes/bin/notes", os.X_OK)
    done = subprocess.run(
        [sys.executable, "-m", "py_compile", EXAMPLE / "notes/bin/notes"], check=False
    )
    assert done.returncode == 0
