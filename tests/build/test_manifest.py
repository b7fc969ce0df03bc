"""kennel.json: what is read, what is refused, and in which words."""

import json
from pathlib import Path
from typing import Any

import pytest

from kennel.build.manifest import parse
from kennel.build.shape import schema
from kennel.domain import Limits, Manifest, Ready, Release, Seed
from kennel.errors import ManifestError

SCHEMA = Path(__file__).parents[2] / "docs/manifest.schema.json"
NOT_SHOWN = {"oidc", "preview_deployments", "static_sites"}
"""What only the devenv module writes."""


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
                    "custom_domains": ["api.example.org", "example.org"],
                    "redirects": ["www.example.org"],
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
    assert api.custom_domains == ("api.example.org", "example.org")
    assert api.redirects == ("www.example.org",)
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
    assert manifest.services["api"].custom_domains == ("api.example.org",)
    assert manifest.sites["docs"].package == "book"
    assert not manifest.previews
    assert manifest.resources == {"postgres": {}, "garage": {}}


def test_null_is_as_good_as_nothing() -> None:
    shape = schema()["$defs"]
    nothing = dict.fromkeys(shape["ManifestShape"]["properties"])
    given = read({**nothing, **service(**dict.fromkeys(shape["ServiceShape"]["properties"]))})
    assert given == read(service())


def test_a_service_listens_always_and_everywhere_unless_it_says_otherwise() -> None:
    api = read(service()).services["api"]
    assert (api.port, api.schedule, api.previews, api.listens) == (True, None, True, True)


def test_what_does_not_listen_and_what_runs_at_times() -> None:
    manifest = read(
        {
            "services": {
                "bot": {"port": False, "previews": False},
                "nightly": {"schedule": "Mon..Fri *-*-* 04:00:00 Europe/Berlin"},
                "hourly": {"schedule": "hourly", "port": False, "ready": {"path": None}},
            }
        }
    )
    assert not any(service.listens for service in manifest.services.values())
    assert manifest.primary is None
    assert manifest.services["nightly"].schedule == "Mon..Fri *-*-* 04:00:00 Europe/Berlin"
    assert set(manifest.of_preview().services) == {"nightly", "hourly"}


def test_a_release_command_is_the_only_services_with_other_arguments() -> None:
    manifest = read({**service(package="server"), "release": {"args": ["migrate"]}})
    assert manifest.release == Release(service="api", package="server", args=("migrate",))
    assert manifest.release.timeout == 600


def test_a_service_may_be_called_release_where_there_is_no_such_command() -> None:
    assert set(read({"services": {"release": {}}}).services) == {"release"}


def test_a_seed_command_is_like_a_release_command() -> None:
    seed = {"args": ["seed"], "production": True}
    manifest = read({**service(package="server"), "resources": ["postgres"], "seed": seed})
    expected = Seed(service="api", package="server", args=("seed",), production=True)
    assert manifest.seed == expected
    assert manifest.release is None
    quiet = read({**service(), "resources": ["postgres"], "seed": {}}).seed
    assert quiet is not None
    assert (quiet.production, quiet.timeout) == (False, 600)


def test_a_release_command_may_have_a_package_of_its_own() -> None:
    release = {"service": "b", "package": "migrations", "timeout": 86400}
    manifest = read({"services": {"a": {}, "b": {}}, "release": release})
    assert manifest.release == Release(service="b", package="migrations", timeout=86400)
    assert manifest.packages == {"a", "b", "migrations"}


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
        (service(port=8080), "services.api.port: must be true or false: whether it listens on the"),
        (service(port="no"), "services.api.port: must be true or false"),
        (service(schedule=5), "services.api.schedule: must be times in systemd's notation, such"),
        (service(schedule=""), "services.api.schedule: must be times in systemd's notation"),
        (service(schedule="daily\n"), "services.api.schedule: must be times in systemd's notation"),
        (service(schedule="a" * 257), "services.api.schedule: must be times in systemd's notation"),
        (service(schedule="%n"), "services.api.schedule: must be times in systemd's notation"),
        (
            service(schedule="daily", custom_domain="a.example.org"),
            "services.api.custom_domain: api does not listen, because it has a schedule: leave one",
        ),
        (
            service(port=False, custom_domain="a.example.org"),
            "services.api.custom_domain: api does not listen, because port is false: leave one out",
        ),
        (service(schedule="daily", ready={"path": "/"}), "services.api.ready.path: api does not"),
        (
            service(port=False, custom_domains=["a.example.org"], redirects=["b.example.org"]),
            "services.api.redirects: api does not listen, because port is false: leave one out",
        ),
        (
            service(redirects=["b.example.org"]),
            "services.api.redirects: they lead to the first of custom_domains: add one",
        ),
        (
            service(custom_domain="a.example.org", custom_domains=["b.example.org"]),
            "services.api: give custom_domain or custom_domains, not both",
        ),
        (
            service(custom_domains=["a.example.org"], redirects=["a.example.org"]),
            "services.api: the host 'a.example.org' is given twice: services.api has it already",
        ),
        (service(custom_domains=["*.example.org"]), "custom_domains[0]: must be a host name"),
        (service(custom_domains="a.example.org"), "custom_domains: must be a list of at most 20"),
        (
            service(custom_domains=[f"a{number}.example.org" for number in range(21)]),
            "services.api.custom_domains: must be a list of at most 20 host names, not one of 21",
        ),
        (service(port=False, ready={"timeout": 5}), "services.api.ready.timeout: api does not"),
        (service(schedule="daily", port=True), "services.api.port: api does not listen, because"),
        (service(previews=0), "services.api.previews: must be true or false, not 0"),
        ({**service(), "release": []}, "release: must be an object, not a list"),
        ({**service(), "release": {"timeout": 0}}, "release.timeout: must be seconds, more than 0"),
        ({**service(), "release": {"timeout": 86401}}, "release.timeout: must be seconds, more"),
        ({**service(), "release": {"env": {}}}, "release.env: unknown key; its keys are: service,"),
        (
            {**service(), "release": {"service": "apl"}},
            "release.service: there is no service 'apl'; did you mean 'api'?",
        ),
        (
            {**service(), "release": {"service": "z"}},
            "release.service: there is no service 'z'; there are: api",
        ),
        (
            {"services": {"b": {}, "a": {}}, "release": {}},
            "release.service: whose environment does it find? Name one of a, b",
        ),
        ({"services": {"release": {}}, "release": {}}, "release: its run is called release: give"),
        (
            {"services": {"seed": {}}, "resources": ["a"], "seed": {}},
            "seed: its run is called seed: give",
        ),
        (
            {**service(), "seed": {}},
            "seed: it is run once there are resources, and none are listed",
        ),
        (
            {**service(), "resources": ["a"], "seed": {"service": "apl"}},
            "seed.service: there is no service 'apl'; did you mean 'api'?",
        ),
        ({**service(), "sites": {"release": {}}, "release": {}}, "release: its run is called"),
        ({"sites": {"a": {}}, "release": {}}, "release: it finds the environment of a service, an"),
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
    assert said == (
        "sites.docs: the host 'x.example.org' is given twice: services.api has it already"
    )


def test_all_that_cannot_be_meant_comes_at_once() -> None:
    said = problem(
        {
            "services": {"api": {"port": False, "ready": {"path": "/"}}, "docs": {}},
            "sites": {"docs": {}},
            "release": {},
        }
    )
    assert len(said.splitlines()) == 3


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


def test_every_key_is_in_the_book() -> None:
    text = SCHEMA.with_name("manifest.md").read_text()
    shape = schema()["$defs"]
    for name, prefix in (
        ("ManifestShape", ""),
        ("ServiceShape", "services.NAME."),
        ("ReadyShape", "services.NAME.ready."),
        ("SiteShape", "sites.NAME."),
        ("ReleaseShape", "release."),
    ):
        for key in shape[name]["properties"].keys() - NOT_SHOWN:
            assert f"`{prefix}{key}`" in text or f"`{prefix}{key}." in text, f"{prefix}{key}"


def test_the_published_schema_is_the_one_in_force() -> None:
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(schema())), (
        "run: python -m kennel.build > docs/manifest.schema.json"
    )
