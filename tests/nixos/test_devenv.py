"""What developers import into devenv.nix: the shell it makes, and the kennel.json."""

import json
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
from kennel_garage.provisioner import VARIABLES as OF_GARAGE
from kennel_postgres.address import VARIABLES as OF_POSTGRES
from kennel_valkey.access import VARIABLES as OF_VALKEY

from kennel.build import manifest
from kennel.domain import Manifest
from kennel.testing.garage import find, garage_server
from tests.nixos.evaluation import Nix, Refused, agreed, project, without_hashes

SECRETS = """\
[project]
name = "my-project"

[secrets]
JWT_SECRET = { description = "JWT signing key", required = true }
"""


@pytest.fixture(scope="module")
def shells(nix: Nix) -> dict[str, Any]:
    names = ("example", "everything")
    asked = " ".join(f"{name} = ({project(name)}).shell;" for name in names)
    found: dict[str, Any] = nix.evaluate(f"{{ {asked} }}")
    return found


def built(nix: Nix, name: str, *modules: str, **arguments: str) -> Path:
    """Build what Kennel builds, and return the folder."""
    return nix.build(f"({project(name, modules, **arguments)}).config")


def deployed(nix: Nix, name: str, *modules: str, **arguments: str) -> Manifest:
    return manifest.parse((built(nix, name, *modules, **arguments) / "kennel.json").read_bytes())


class TestKennelJson:
    def test_of_the_guide_is_what_the_guide_promises(self, nix: Nix) -> None:
        folder = built(nix, "example")
        text = (folder / "kennel.json").read_text()
        assert json.loads(text) == {
            "version": 1,
            "services": {
                "api": {
                    "custom_domain": "api.my-project.scottylabs.org",
                    "ready": {"path": "/health"},
                }
            },
            "sites": {"docs": {"spa": False}},
            "resources": ["postgres"],
        }
        assert [path.name for path in folder.iterdir()] == ["kennel.json"]

    @pytest.mark.parametrize("name", ["example", "everything"])
    def test_is_accepted_by_kennel(self, nix: Nix, name: str) -> None:
        assert deployed(nix, name).services

    def test_says_everything_that_is_declared(self, nix: Nix) -> None:
        found = deployed(nix, "everything")
        assert set(found.services) == {"api", "worker", "nightly"}
        assert found.services["api"].ready.path == "/"
        assert found.services["worker"].ready.path is None, "a command is none of Kennel's"
        assert found.services["nightly"].schedule == "daily"
        assert found.sites["docs"].spa
        assert found.sites["www"].custom_domains == ("www.example.org",)
        assert set(found.resources) == {"postgres", "valkey", "garage"}

    def test_holds_every_character_as_it_was_written(self, nix: Nix) -> None:
        found = deployed(nix, "everything")
        greeting = found.services["worker"].environment["GREETING"]
        assert greeting == 'it\'s $HOME "quoted" \\ `date`'
        assert found.release is not None
        assert found.release.args == ("migrate", "--note", "don't")

    @pytest.mark.parametrize("resource", ["postgres", "valkey", "garage"])
    def test_asks_for_what_is_enabled(self, nix: Nix, resource: str) -> None:
        off = f"{{ lib, ... }}: {{ scottylabs.{resource}.enable = lib.mkForce false; }}"
        rest = {"postgres", "valkey", "garage"} - {resource}
        assert set(deployed(nix, "everything", off).resources) == rest

    def test_a_service_that_is_no_process_is_told(self, nix: Nix) -> None:
        wrong = "{ scottylabs.kennel.services.apj = { }; }"
        with pytest.raises(Refused, match=r"declare processes.apj, or call the service as one"):
            built(nix, "example", wrong)

    def test_nothing_is_deployed_where_nothing_is_enabled(self, nix: Nix) -> None:
        off = "{ lib, ... }: { scottylabs.enable = lib.mkForce false; }"
        with pytest.raises(Refused, match=r"without scottylabs\.enable = true"):
            built(nix, "example", off)

    def test_has_the_projects_secretspec_beside_it(self, nix: Nix, tmp_path: Path) -> None:
        (tmp_path / "secretspec.toml").write_text(SECRETS)
        folder = built(nix, "example", root=str(tmp_path))
        assert (folder / "secretspec.toml").read_text() == SECRETS

    def test_of_another_organisation(self, nix: Nix) -> None:
        acme = """
        {
          acme = {
            enable = true;
            project.name = "rocket";
            kennel.services.api = { };
          };
          processes.api.exec = "api";
        }
        """
        text = (
            '(import ./nixos/tests/devenv.nix { prefix = "acme"; project = { inputs, ... }: {'
            f" imports = [ inputs.scottylabs.devenvModules.default ({acme}) ]; }}; }}).config"
        )
        found = manifest.parse((nix.build(text) / "kennel.json").read_bytes())
        assert set(found.services) == {"api"}


class TestTheShell:
    def test_has_what_was_agreed(self, shells: dict[str, Any]) -> None:
        for name, shell in shells.items():
            text = without_hashes(json.dumps(shell, indent=2, sort_keys=True)) + "\n"
            assert agreed(f"devenv/{name}.json", text) == text

    @pytest.mark.parametrize(
        ("names", "unknown"),
        [
            # Who connects to the socket of one's own server needs neither user nor password.
            (OF_POSTGRES, {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD"}),
            (OF_VALKEY, set()),
            (OF_GARAGE, set()),
        ],
    )
    def test_has_the_variables_of_production(
        self, shells: dict[str, Any], names: frozenset[str], unknown: set[str]
    ) -> None:
        assert names - set(shells["everything"]["env"]) == unknown

    def test_has_nothing_where_nothing_is_enabled(self, nix: Nix) -> None:
        off = "{ lib, ... }: { scottylabs.enable = lib.mkForce false; }"
        shell = nix.evaluate(f"({project('everything', [off])}).shell")
        assert set(shell["env"]) == {"DEVENV_RUNTIME", "DEVENV_STATE"}
        assert shell["packages"] == []
        assert shell["claude"]["enable"] is False
        assert shell["hooks"] == {}

    def test_says_what_devenv_yaml_lacks(self, shells: dict[str, Any]) -> None:
        said = shells["everything"]["enterShell"]
        assert "enable: true, provider: 'openbao://bao.example.net/secret', profile: 'dev'" in said
        assert shells["example"]["enterShell"] == ""


def test_the_bucket_is_opened_by_the_key_in_the_shell(shells: dict[str, Any]) -> None:
    """On the real Garage, twice: what is set up is run with every start."""
    shell = shells["everything"]
    env, script = shell["env"], shell["services"]["garage"]["afterStart"]
    with garage_server() as server:
        garage = f"{find()} -c {server.config}"
        for _ in range(2):
            for text in ("$GARAGE bucket create shop 2>/dev/null || true", script):
                subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", f"GARAGE='{garage}'\n{text}"],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    timeout=60,
                )
        s3 = boto3.client(
            "s3",
            endpoint_url=server.s3,
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )
        s3.put_object(Bucket=env["S3_BUCKET"], Key="hello", Body=b"world")
        assert s3.get_object(Bucket=env["S3_BUCKET"], Key="hello")["Body"].read() == b"world"
        s3.close()
