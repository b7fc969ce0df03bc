"""A plugin's table of kennel.toml, and the secrets it refers to."""

import traceback
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from kennel.errors import ConfigError
from kennel.plugin import PluginConfig, PluginSettings, SecretReference
from kennel.plugin.settings import Host, read_secret

SHOWN_NEVER = "hunter2-hunter2"


class RedisConfig(PluginConfig, frozen=True):
    url: str
    databases: Annotated[int, msgspec.Meta(ge=1)] = 16
    folder: Path = Path("/var/lib/redis")
    password: SecretReference | None = None
    mode: Literal["shared", "own"] = "shared"
    hosts: dict[str, str] = msgspec.field(default_factory=dict)
    tags: tuple[SecretReference, ...] = ()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


def read(host: Host, **table: object) -> RedisConfig | None:
    return PluginSettings({"redis": table}, host).read("redis", RedisConfig)


def test_a_table_is_read(host: Host) -> None:
    config = read(host, url="redis://x", folder="/srv", password="env:REDIS", hosts={"a": "b"})
    assert config == RedisConfig(
        url="redis://x", folder=Path("/srv"), password="env:REDIS", hosts={"a": "b"}
    )


def test_no_table_no_settings(host: Host) -> None:
    settings = PluginSettings({"other": {}}, host)
    assert settings.read("redis", RedisConfig) is None
    assert settings.names == {"other"}
    assert settings.host is host


ALL = "url, databases, folder, password, mode, hosts, tags"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, f"[plugins.redis]: the key 'url' is missing; its keys are: {ALL}"),
        ({"url": "", "prot": 1}, f"[plugins.redis]: unknown key 'prot'; its keys are: {ALL}"),
        ({"url": 3}, "[plugins.redis] url: must be text in quotes, not a whole number"),
        ({"url": "", "databases": "a"}, "[plugins.redis] databases: must be a whole number, not"),
        ({"url": "", "databases": 0}, "[plugins.redis] databases: must be a whole number >= 1"),
        ({"url": "", "folder": 3}, "[plugins.redis] folder: must be a path in quotes, not a whole"),
        (
            {"url": "", "folder": [1]},
            "[plugins.redis] folder: must be a path in quotes, not a list",
        ),
        ({"url": "", "mode": "x"}, '[plugins.redis] mode: must be one of "own", "shared"'),
        ({"url": "", "hosts": {"ok": "", "b": 1}}, "[plugins.redis.hosts] b: must be text in"),
        ({"url": "", "hosts": []}, "[plugins.redis] hosts: must be a table, not a list"),
    ],
)
def test_a_wrong_table(host: Host, table: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(host, **table)
    assert str(error.value).startswith(f"kennel.toml: {why}")


def test_a_plugin_without_settings(host: Host) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'x'; its keys are: \(none\)"):
        PluginSettings({"redis": {"x": 1}}, host).read("redis", PluginConfig)


def test_something_else_than_a_table(host: Host) -> None:
    with pytest.raises(ConfigError) as error:
        PluginSettings({"redis": 3}, host).read("redis", PluginConfig)
    assert str(error.value) == ("kennel.toml: [plugins] redis: must be a table, not a whole number")


@pytest.mark.parametrize(
    "wrong",
    [
        SHOWN_NEVER,
        f"env={SHOWN_NEVER}",
        f"secret:{SHOWN_NEVER}",
        "env:",
        "env:1PASSWORD",
        "env:A B",
        "file:relative",
        "file:",
        "credential:",
        "credential:../x",
        "",
    ],
)
def test_a_secret_where_its_reference_belongs(host: Host, wrong: str) -> None:
    rule = 'must be written like "env:NAME" or "file:/path" or "credential:name"'
    with pytest.raises(ConfigError) as error:
        read(host, url="", password=wrong)
    assert str(error.value) == f"kennel.toml: [plugins.redis] password: {rule}"
    with pytest.raises(ConfigError) as error:
        read(host, url="", tags=["env:OK", wrong])
    assert str(error.value) == f"kennel.toml: [plugins.redis] tags[1]: {rule}"
    shown = "".join(traceback.format_exception_only(error.value))
    assert SHOWN_NEVER not in shown
    assert error.value.__suppress_context__


@pytest.mark.parametrize("fine", ["env:A_1", "file:/run/key", "credential:redis.key"])
def test_a_reference(host: Host, fine: str) -> None:
    config = read(host, url="", password=fine)
    assert config
    assert config.password == fine


def test_secrets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", " in the environment ")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "key").write_text("in a file\n")
    for reference, value in {
        "env:REDIS_PASSWORD": "in the environment",
        f"file:{tmp_path / 'key'}": "in a file",
        "credential:key": "in a file",
    }.items():
        secret = read_secret(reference, where="[plugins.redis] password")
        assert secret.value == value
        assert value not in f"{secret} {secret!r}"


def test_a_credential_cannot_leave_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").write_text(SHOWN_NEVER)
    (tmp_path / "credentials").mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    for name in ("../outside", str(tmp_path / "outside"), ".."):
        with pytest.raises(ConfigError) as error:
            read_secret(f"credential:{name}", where="x")
        assert SHOWN_NEVER not in str(error.value)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env:NO_SUCH", "env:NO_SUCH is not set or empty"),
        ("env:BLANK", "env:BLANK is not set or empty"),
        ("file:{}/none", "cannot read file:{}/none: No such file or directory"),
        ("file:{}", "cannot read file:{}: Is a directory"),
        ("file:{}/blank", "file:{}/blank is an empty file"),
        ("file:{}/binary", "cannot read file:{}/binary: it does not hold text"),
        ("file:{}/\0", "cannot read file:{}/\0: it does not hold text"),
        ("credential:blank", "credential:blank is an empty credential"),
        ("credential:none", "cannot read credential:none: No such file or directory"),
    ],
)
def test_a_secret_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, why: str
) -> None:
    monkeypatch.setenv("BLANK", " \n")
    monkeypatch.delenv("NO_SUCH", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "blank").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff" + SHOWN_NEVER.encode())
    with pytest.raises(ConfigError) as error:
        read_secret(reference.format(tmp_path), where="[plugins.redis] password")
    assert str(error.value) == f"[plugins.redis] password: {why.format(tmp_path)}"
    assert SHOWN_NEVER not in "".join(traceback.format_exception(error.value))


def test_a_credential_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError) as error:
        read_secret("credential:key", where="[plugins.redis] password")
    assert str(error.value) == (
        "[plugins.redis] password: cannot read credential:key:"
        " Kennel was not started with LoadCredential="
    )


@pytest.mark.parametrize("wrong", [SHOWN_NEVER, f"secret:{SHOWN_NEVER}", f"{SHOWN_NEVER}:", ""])
def test_what_is_no_reference_is_not_shown(wrong: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_secret(wrong, where="[plugins.redis] password")
    assert str(error.value) == (
        '[plugins.redis] password: a secret is written as "env:NAME", "file:/path"'
        ' or "credential:name"'
    )
