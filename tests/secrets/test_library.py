"""What the official library makes of what Kennel hands to it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from secretspec import MissingRequiredError, SecretSpec, SecretSpecError

from kennel.domain import Secret
from kennel.domain.secretspec import Declaration
from kennel.errors import ManifestError, Rejected, Unavailable
from kennel.secrets import Grants, read
from kennel.secrets.inline import inline
from kennel.secrets.library import Library, WorkedOut

SHOP = Grants(project="shop", sources=("openbao",))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "secrets")


async def work_out(library: Library, text: str, values: Mapping[str, str]) -> WorkedOut:
    declared = read(text, SHOP).of("prod")
    secrets = {name: Secret(value) for name, value in values.items()}
    return await library.work_out("shop", "prod", declared, secrets)


async def test_values_are_worked_out(library: Library, tmp_path: Path) -> None:
    text = """
    [secrets]
    PLAIN = {}
    LINES = {}
    LEVEL = { default = "info" }
    URL = { composed = "pg://u:${PLAIN}@h/$$x" }
    DECODED = { encoding = "hex" }
    PART = { extract = { format = "json", pointer = "/b/c" } }
    LEFT_OUT = { required = false }
    """
    values = {"PLAIN": "a'b\"$c", "LINES": "é\n\tü", "DECODED": "6869", "PART": '{"b": {"c": "d"}}'}
    done = await work_out(library, text, values)
    assert done.missing == ()
    assert {name: secret.value for name, secret in done.env.items()} == {
        "PLAIN": "a'b\"$c",
        "LINES": "é\n\tü",
        "LEVEL": "info",
        "URL": "pg://u:a'b\"$c@h/$x",
        "DECODED": "hi",
        "PART": "d",
    }
    assert not any(secret.as_path for secret in done.env.values())
    assert [*(tmp_path / "secrets").iterdir()] == [], "nothing stays"


async def test_files_may_hold_anything(library: Library) -> None:
    text = '[secrets]\nA = { as_path = true, encoding = "base64" }\nB = { as_path = true }'
    done = await work_out(library, text, {"A": "AP/+", "B": "text\n"})
    assert all(secret.as_path for secret in done.env.values())
    assert done.env["A"].value.encode(errors="surrogateescape") == b"\0\xff\xfe"
    assert done.env["B"].value == "text\n"


async def test_all_that_is_missing_is_told(library: Library) -> None:
    text = '[secrets]\nA = {}\nB = {}\nC = { required = false }\nD = { composed = "${A}" }'
    done = await work_out(library, text, {})
    assert {"A", "B"} <= set(done.missing) <= {"A", "B", "D"}
    assert done.env == {}


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ('[secrets]\nA = { encoding = "base64" }', {"A": "!hunter2!"}, "decode secret 'A'"),
        ('[secrets]\nA = { encoding = "base64" }', {"A": "/////w=="}, "'A' is not usable as text"),
        (
            (
                '[secrets]\nA = { required = { at_least_one = "g" } }\n'
                'B = { required = { at_least_one = "g" } }'
            ),
            {},
            "at least one secret in group 'g' must be provided (A, B)",
        ),
        ("[secrets]\nA = {}", {"A": "x\0y"}, 'encoding = "base64" and as_path = true'),
        (
            '[secrets]\nA = { extract = { format = "json", pointer = "/b" } }',
            {"A": '{"c": "hunter2"}'},
            "decode secret 'A'",
        ),
        (
            '[secrets]\nA = { extract = { format = "json", pointer = "/b" } }',
            {"A": "hunter2"},
            "decode secret 'A'",
        ),
    ],
)
async def test_what_cannot_be_worked_out_is_told_without_a_value(
    library: Library, text: str, values: Mapping[str, str], said: str
) -> None:
    with pytest.raises(Rejected) as caught:
        await work_out(library, text, values)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[secrets]\nA = { composed = "${B}" }\nB = { composed = "${A}" }',
        '[secrets]\nA = { composed = "${B}" }',
        '[secrets]\nA = { composed = "${" }',
        '[secrets]\nB = {}\nA = { composed = "${B}", encoding = "hex" }',
    ],
)
async def test_what_no_value_would_mend_is_the_commits_fault(library: Library, text: str) -> None:
    with pytest.raises(ManifestError, match=r"secretspec\.toml: .*'?A'?"):
        await library.check("shop", "prod", read(text, SHOP).of("prod"))


async def test_what_lacks_values_only_is_no_fault(library: Library) -> None:
    text = "[secrets]\nA = {}\n" + "".join(
        f'{name} = {{ required = {{ exactly_one = "g" }} }}\n' for name in ("B", "C")
    )
    await library.check("shop", "prod", read(text, SHOP).of("prod"))
    await library.check("shop", "prod", {})


async def test_the_library_sees_nothing_of_our_environment(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAO_TOKEN", "hunter2")
    monkeypatch.setenv("SECRETSPEC_PROVIDER", "null://")
    done = await work_out(library, "[secrets]\nBAO_TOKEN = { required = false }", {})
    assert done == WorkedOut()
    found = await work_out(library, "[secrets]\nA = {}", {"A": "x"})
    assert found.env == {"A": Secret("x")}


async def test_a_library_that_hangs_is_ended(tmp_path: Path) -> None:
    slow = Library(tmp_path / "secrets", timeout=0.001)
    with pytest.raises(Unavailable, match="could not be worked out within"):
        await work_out(slow, "[secrets]\nA = {}", {"A": "x"})


WHAT = {"description": "x"}
NAMES = st.sampled_from(["A", "B", "C"])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "required": st.booleans(),
        "default": st.sampled_from(["x", "y"]),
        "encoding": st.just("hex"),
    },
).filter(lambda fields: not (fields.get("required") and "default" in fields))
RULES = st.fixed_dictionaries(
    {}, optional={"required": st.booleans(), "default": st.just("z"), "inherit": st.booleans()}
)
SECRETS = st.dictionaries(NAMES, FIELDS, min_size=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    config = folder / ".config/secretspec/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[audit]\nenabled = false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.delenv("XDG_CONFIG_HOME", raising=False)
        yield folder


@given(SECRETS, SECRETS, RULES, st.sets(NAMES))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_profiles_inherit_as_the_library_has_it(
    home: Path,
    default: dict[str, dict[str, Any]],
    prod: dict[str, dict[str, Any]],
    rules: dict[str, Any],
    there: set[str],
) -> None:
    """The library reads the file itself here; elsewhere it gets what Kennel made of it."""
    text = "\n".join(
        [
            '[project]\nname = "shop"\nrevision = "1.0"',
            "[profiles.default]",
            *(f"{name} = {table({**WHAT, **fields})}" for name, fields in default.items()),
            "[profiles.prod]",
            *(f"{name} = {table({**WHAT, **fields})}" for name, fields in prod.items()),
            f"defaults = {table(rules)}" if rules else "",
        ]
    )
    file = home / "secretspec.toml"
    file.write_text(text)
    declared = read(text, SHOP).of("prod")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("A", "B", "C"):
            if name in there:
                patch.setenv(name, "6869")
            else:
                patch.delenv(name, raising=False)
        theirs = outcome(SecretSpec.builder().with_path(str(file)))
        ours = outcome(SecretSpec.builder().with_inline_spec(of_inline(declared), str(home)))
    assert ours == theirs, text


def of_inline(declared: Mapping[str, Declaration]) -> dict[str, Any]:
    return inline("shop", "prod", declared)


def table(fields: Mapping[str, Any]) -> str:
    words = {True: "true", False: "false"}
    said = (f"{k} = {words[v] if isinstance(v, bool) else repr(v)}" for k, v in fields.items())
    return "{ " + ", ".join(said) + " }"


def outcome(asked: Any) -> object:
    try:
        with asked.with_provider("env://").with_profile("prod").with_reason("test").load() as found:
            return {name: one.value for name, one in found.secrets.items()}
    except MissingRequiredError as error:
        return set(error.missing)
    except SecretSpecError as error:
        return error.kind
