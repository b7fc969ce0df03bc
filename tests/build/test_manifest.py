"""kennel.json: what is read, what is refused, and in which words."""

import json
from pathlib import Path
from typing import Any

import pytest

from kennel.build.manifest import parse
from kennel.build.shape import schema
from kennel.domain import Limits, Manifest, Ready
from kennel.errors import ManifestError

SCHEMA = Path(__file__).parents[2] / "docs/manifest.schema.json"


def read(content: object) -> Manifest:
    return parse(json.dumps(content).encode())


def problem(content: object) -> str:
    with pytest.raises(ManifestError) as raised:
        read(content)
    return str(raised.value)


def service(**keys: object) -> dict[str, Any]:
    return {"services": {"api": keys}}


def test_a_service_without_keys_runs_the_package_of_its_name() -> None:
    api = read(service()).services["api"]
    assert (api.name, api.package, api.args, api.ready) == ("api", "api", (), Ready())
    assert api.limits == Limits()


def test_everything_that_can_be_said() -> None:
    manifest = read(
        {
            "version": 1,
            "services": {
                "api": {
                    "package": "server",
                    "args": ["--verbose", ""],
                    "environment": {"LOG_LEVEL": "debug", "EMPTY": ""},
                    "custom_domain": "api.example.org",
                    "ready": {"path": "/health", "timeout": 5},
                    "limits": {"memory_max": "512M", "cpu_weight": 50, "tasks_max": 10},
                }
            },
            "sites": {"docs": {"package": "book", "spa": True}},
            "resources": {"postgres": {"extensions": ["vector"]}, "valkey": None},
            "previews": False,
        }
    )
    api = manifest.services["api"]
    assert api.package == "server"
    assert api.args == ("--verbose", "")
    assert api.environment == {"LOG_LEVEL": "debug", "EMPTY": ""}
    assert api.custom_domain == "api.example.org"
    assert api.ready == Ready(path="/health", timeout=5.0)
    assert api.limits == Limits(memory_max=512 << 20, cpu_weight=50, tasks_max=10)
    assert manifest.sites["docs"].package == "book"
    assert manifest.sites["docs"].spa
    assert manifest.resources == {"postgres": {"extensions": ["vector"]}, "valkey": {}}
    assert not manifest.previews


def test_what_the_devenv_module_writes() -> None:
    manifest = read(
        {
            "services": {"api": {"custom_domain": "api.example.org", "oidc": None}},
            "static_sites": {"docs": {"package_attr": "book", "spa": False, "custom_domain": None}},
            "preview_deployments": False,
            "resources": ["postgres", "garage"],
        }
    )
    assert manifest.services["api"].custom_domain == "api.example.org"
    assert manifest.sites["docs"].package == "book"
    assert not manifest.previews
    assert manifest.resources == {"postgres": {}, "garage": {}}


def test_null_is_as_good_as_nothing() -> None:
    keys = ("package", "args", "environment", "custom_domain", "ready", "limits", "oidc")
    given = read(
        {**service(**dict.fromkeys(keys)), "version": None, "sites": None, "resources": None}
    )
    assert given == read(service())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "kennel.json: must be an object, not a list"),
        ({"service": {}}, "service: unknown key; did you mean 'services'?"),
        (
            service(customDomain="x.org"),
            "services.api.customDomain: unknown key; did you mean 'cus",
        ),
        (service(zzz=1), "services.api.zzz: unknown key; its keys are: package, args"),
        (service(package=1), "services.api.package: must be the name of a package of the flake"),
        (
            service(package="/nix/store/x-api"),
            "services.api.package: must be the name of a package",
        ),
        (service(args="-v"), "services.api.args: must be a list, not '-v'"),
        (service(args=["ok", 1]), "services.api.args[1]: must be a string, not 1"),
        (service(args=["a\0b"]), "services.api.args[0]: must be a string"),
        (
            service(environment={"A": True}),
            "services.api.environment.A: must be a string, not true",
        ),
        (service(environment={"a-b": ""}), "services.api.environment: the name 'a-b' must be"),
        (service(environment={"PORT": "1"}), "services.api.environment.PORT: is not yours to set"),
        (service(environment={"LD_PRELOAD": "1"}), "LD_PRELOAD: is not yours to set"),
        (service(environment={"KENNEL_X": "1"}), "KENNEL_X: is not yours to set"),
        (
            service(custom_domain="Shop.example.org"),
            "custom_domain: must be a host name in lower c",
        ),
        (service(custom_domain="shop"), "custom_domain: must be a host name"),
        (service(custom_domain="192.0.2.1"), "custom_domain: must be a host name"),
        (service(custom_domain="a.example.org\n"), "custom_domain: must be a host name"),
        (service(custom_domain="*.example.org"), "custom_domain: must be a host name"),
        (service(ready={"path": "health"}), "ready.path: must be an HTTP path, such as /health"),
        (service(ready={"path": "/a b"}), "ready.path: must be an HTTP path"),
        (service(ready={"timeout": 0}), "ready.timeout: must be seconds, more than 0"),
        (service(ready={"timeout": True}), "ready.timeout: must be seconds, more than 0"),
        (service(limits={"memory_max": "512X"}), "limits.memory_max: must be such as"),
        (service(limits={"memory_max": 12}), "limits.memory_max: must be bytes"),
        (service(limits={"memory_max": 1.5}), "limits.memory_max: must be bytes"),
        (service(limits={"cpu_weight": 10001}), "limits.cpu_weight: must be a whole number from 1"),
        (service(oidc={"redirect_paths": []}), "services.api.oidc: must be null: Kennel does not"),
        ({"services": {"API": {}}}, "services: the name 'API' must be 1 to 39 of a-z, 0-9 and -"),
        ({"services": {"-": {}}}, "services: the name '-' must be"),
        ({"services": {"a\n": {}}}, "services: the name 'a\\n' must be"),
        ({"services": ["api"]}, "services: must be an object, not a list"),
        ({"services": {"api": True}}, "services.api: must be an object, not true"),
        ({**service(), "sites": {"api": {}}}, "services and sites both have 'api'"),
        ({"sites": {"a": {}}, "static_sites": {"a": {}}}, "sites and static_sites both have 'a'"),
        ({**service(), "resources": ["Postgres"]}, "resources[0]: must be 1 to 39 of a-z"),
        ({**service(), "resources": {"postgres": True}}, "resources.postgres: must be an object"),
        ({**service(), "previews": "no"}, "previews: must be true or false, not 'no'"),
        ({"version": 2, "new": {}}, "version: this Kennel reads version 1, not 2: upgrade Kennel"),
        ({"version": 0}, "version: this Kennel reads version 1, not 0"),
        ({"version": "1"}, "version: must be a whole number, not '1'"),
        ({}, "nothing is declared"),
        (None, "nothing is declared"),
        ({"services": {}}, "kennel.services.api = { };"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(content: object, words: str) -> None:
    assert words in problem(content)


def test_one_domain_is_given_once() -> None:
    said = problem(
        {
            "services": {"api": {"custom_domain": "x.example.org"}},
            "sites": {"docs": {"custom_domain": "x.example.org"}},
        }
    )
    assert said == "custom_domain 'x.example.org' is given to both api and docs"


def test_all_problems_come_at_once() -> None:
    said = problem({"services": {"a": {"args": 1}, "b": {"spa": True}}, "x": 1}).splitlines()
    assert [line.partition(":")[0] for line in said] == ["services.a.args", "services.b.spa", "x"]


def test_a_thousand_problems_are_cut_short() -> None:
    said = problem({f"key{number}": 1 for number in range(1000)}).splitlines()
    assert len(said) == 21
    assert said[-1] == "and 980 problems more"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"services": {"a": {}, "a": {}}}', "the key 'a' twice in one object"),
        (b"{", "no JSON that Kennel can read"),
        (b"[" * 100_000, "no JSON that Kennel can read"),
        (b'{"services": NaN}', "no JSON that Kennel can read"),
        (b"1" * 10_000, "no JSON that Kennel can read"),
        (b"\xff\xfe\x00", "no JSON that Kennel can read"),
        (b'"' + b"x" * (1024 * 1024) + b'"', "1048576 are allowed"),
    ],
    ids=["double", "cut", "deep", "nan", "long number", "bytes", "large"],
)
def test_text_that_is_no_manifest(text: bytes, words: str) -> None:
    with pytest.raises(ManifestError) as raised:
        parse(text)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 2000


def test_there_are_at_most_a_hundred() -> None:
    services: dict[str, object] = {f"s{number}": {} for number in range(60)}
    sites: dict[str, object] = {f"t{number}": {} for number in range(41)}
    said = problem({"services": services, "sites": sites})
    assert said == "101 services and sites are declared; 100 are allowed"
    del sites["t0"]
    assert len(read({"services": services, "sites": sites}).sites) == 40


def test_the_published_schema_is_the_one_in_force() -> None:
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(schema())), (
        "run: python -m kennel.build > docs/manifest.schema.json"
    )
