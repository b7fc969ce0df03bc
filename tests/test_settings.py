"""kennel.toml: its defaults, its tables, and what it says of what is wrong."""

import socket
from pathlib import Path

import pytest

from kennel import settings
from kennel.domain import Environment, Limits
from kennel.errors import ConfigError
from kennel.settings import Settings, load, parse

EXAMPLE = """
state_dir = "/srv/kennel"
run_dir = "/run/kennel"
host = "deploy-01"
supervisor = "systemd"
router = "caddy"
webhook_secret_file = "/run/keys/webhook"
allow = ["acme/*", "ada/engine"]

[database]
url = "postgresql:///kennel?host=/run/postgresql"

[web]
host = "0.0.0.0"
port = 8080
max_body = 1048576
requests_per_minute = 0
trusted_proxies = ["10.0.0.1"]

[domains]
ephemeral = "preview.example.org"
target = "203.0.113.7"
publish_ephemeral = true

[build]
max_concurrent = 4
dir = "/srv/builds"
timeout = 600
memory_max = 4294967296
log_max_bytes = 8192
log_days = 7
keep = 3
isolation = "systemd"
environment = { NIX_REMOTE = "daemon" }
nix_options = ["--builders", "ssh://builder"]
store = "/srv/store"
eval_store = "auto"
devenv = "/run/current-system/sw/bin/devenv"
devenv_option = "acme.kennel.config"

[services]
ports = "18000-18999"
ready_timeout = 30
settle_time = 3
drain = 0
memory_max = 536870912
cpu_weight = 50
tasks_max = 100

[reconcile]
every = 5.5
parallel = 4

[environments.staging]
sleep_after = "12h"
memory_max = 268435456
cpu_weight = 25
tasks_max = 50

[previews]
expire_after = "14d"
approval_label = "ok to deploy"
memory_max = 8589934592

[sweep]
every = 120

[secrets]
shared = ["shared/smtp", "shared/ci/*"]
providers = { vault = "openbao" }

[projects.shop]
url = "https://git.example.org/acme/shop.git"
forge = "github"
full_name = "acme/shop"
default_branch = "trunk"
domains = ["shop.example.org", "*.shop.example.org"]
secret = "file:/run/keys/shop"
token = "credential:shop-token"
previews = false
secrets = "approved-forks"
shared_secrets = ["shared/stripe"]
memory_max = 134217728
cpu_weight = 20
tasks_max = 40
sleep_after = 3600

[projects.engine]
ssh_key = "file:/run/keys/engine"

[plugins.postgres]
socket_dir = "/run/postgresql"
"""


def test_every_table_and_key_is_read() -> None:
    read = parse(EXAMPLE, source="kennel.toml")
    assert read.state_dir == Path("/srv/kennel")
    assert read.webhook_secret_file == Path("/run/keys/webhook")
    assert read.allow == ("acme/*", "ada/engine")
    assert read.database_url == "postgresql:///kennel?host=/run/postgresql"
    assert read.web.trusted_proxies == ("10.0.0.1",)
    assert read.build.timeout == 600.0
    assert read.build.environment == {"NIX_REMOTE": "daemon"}
    assert read.services.port_range == range(18000, 19000)
    assert read.services.limits == Limits(memory_max=1 << 29, cpu_weight=50, tasks_max=100)
    assert read.reconcile.every == 5.5
    staging = read.environments[Environment.STAGING]
    assert settings.seconds(staging.sleep_after or 0) == 43200.0
    assert settings.seconds(read.previews.expire_after) == 14 * 86400.0
    assert read.previews.approval_label == "ok to deploy"
    assert read.sweep.every == 120
    assert settings.seconds(read.projects["shop"].sleep_after or 0) == 3600.0
    assert read.projects["shop"].domains == ("shop.example.org", "*.shop.example.org")
    assert read.projects["shop"].token == "credential:shop-token"
    assert read.secrets.shared == ("shared/smtp", "shared/ci/*")
    assert read.secrets.providers == {"vault": "openbao"}
    assert read.projects["shop"].secrets == "approved-forks"
    assert read.projects["shop"].shared_secrets == ("shared/stripe",)
    assert read.projects["engine"].secrets == "own"
    assert read.projects["engine"].ssh_key == "file:/run/keys/engine"
    assert read.plugins == {"postgres": {"socket_dir": "/run/postgresql"}}
    assert read.control_socket == Path("/run/kennel/control.sock")


def test_the_example_names_every_key() -> None:
    """So that no key goes untested that is added later."""
    for table in (Settings, *TABLES.values()):
        for field in table.__struct_fields__:
            assert f"\n{field} = " in EXAMPLE or f"\n[{field}" in EXAMPLE, field


TABLES = {
    "database": settings.DatabaseTable,
    "web": settings.WebTable,
    "domains": settings.DomainsTable,
    "build": settings.BuildTable,
    "services": settings.ServicesTable,
    "reconcile": settings.ReconcileTable,
    "environments.staging": settings.EnvironmentTable,
    "previews": settings.PreviewsTable,
    "sweep": settings.SweepTable,
    "secrets": settings.SecretsTable,
    "projects.shop": settings.ProjectTable,
}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the home of a person who has set nothing, and is not root."""
    for name in (
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
        "KENNEL_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_at_all_is_a_configuration(bare: Path) -> None:
    for default in (load(None), parse("", source="kennel.toml")):
        assert default.state_dir == bare / ".local/state/kennel"
        assert default.run_dir == bare / ".cache/kennel"
        assert default.database_url == f"sqlite:///{bare}/.local/state/kennel/kennel.db"
        assert default.host == socket.gethostname()
        assert default.supervisor == "process"
        assert default.router == "caddy"
        assert default.domains.ephemeral == "localhost"
        assert default.projects == {}


def test_places_follow_the_user_and_systemd(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ada/state")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert load(None).state_dir == Path("/home/ada/state/kennel")
    assert load(None).run_dir == Path("/run/user/1000/kennel")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert load(None).state_dir == Path("/var/lib/kennel")
    assert load(None).run_dir == Path("/run/kennel")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one")
    assert load(None).state_dir == Path("/var/lib/one")
    assert load(None).run_dir == Path("/run/one")


def test_what_is_on_without_being_asked_for() -> None:
    read = parse('supervisor = "process"\n[plugins.caddy]\nadmin = "x"', source="kennel.toml")
    assert read.tables == {
        "process": {},
        "caddy": {"admin": "x"},
        "forgejo": {},
        "github": {},
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::", "http://127.0.0.1:3000"),
        ("::1", "http://[::1]:3000"),
        ("10.1.2.3", "http://10.1.2.3:3000"),
    ],
)
def test_plugins_are_told_where_kennel_answers(host: str, url: str) -> None:
    read = parse(f'[web]\nhost = "{host}"', source="kennel.toml")
    assert read.plugin_host.api_url == url
    assert read.plugin_host.state_dir == read.state_dir


def test_plugins_are_told_which_ports_are_for_services() -> None:
    read = parse('[services]\nports = "21000-21099"', source="kennel.toml")
    assert read.plugin_host.ports == range(21000, 21100)


def test_the_file_is_found(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PLACES", ("kennel.toml", str(bare / "etc.toml")))
    assert settings.find() is None
    (bare / "etc.toml").touch()
    assert settings.find() == bare / "etc.toml"
    (bare / "kennel.toml").touch()
    assert settings.find() == Path("kennel.toml")
    monkeypatch.setenv("KENNEL_CONFIG", "/elsewhere.toml")
    assert settings.find() == Path("/elsewhere.toml")


def test_a_file_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "kennel.toml"
    file.write_text(EXAMPLE)
    assert load(file) == parse(EXAMPLE, source="x")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "none.toml")
    assert str(error.value) == f"{tmp_path}/none.toml: No such file or directory"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("web", "Expected '=' after a key"),
        ("[plugins.x]\n[plugins.x]", "Cannot declare ('plugins', 'x') twice"),
        ("port = 1", "at the top: unknown key 'port'; its keys are: state_dir, run_dir, host,"),
        ("state_dir = 3", "state_dir: must be a path in quotes, not a whole number"),
        ('webhook_secret_file = ["x"]', "webhook_secret_file: must be a path in quotes, not a li"),
        ("web = 3", "web: must be a table, not a whole number"),
        ('[web]\nport = "80"', "[web] port: must be a whole number, not text in quotes"),
        ("[web]\nport = 65536", "[web] port: must be a whole number <= 65535"),
        ("[web]\nport = true", "[web] port: must be a whole number, not true or false"),
        ('[web]\ntrusted_proxies = "::1"', "[web] trusted_proxies: must be a list, not text in"),
        ("[build]\ntimeout = 0", "[build] timeout: must be a number > 0"),
        ('[build]\nisolation = "vm"', '[build] isolation: must be written like "auto" or "syst'),
        ('[build]\nmemory_max = "1G"', "[build] memory_max: must be a whole number, not text in"),
        ("[build.environment]\nA = 1", "[build.environment] A: must be text in quotes, not a who"),
        ('[build]\nnix_options = ["a", 1]', "[build] nix_options[1]: must be text in quotes, not"),
        ('[services]\nports = "8080"', '[services] ports: must be written like "20000-29999"'),
        ('[services]\nports = "2000-1999"', "[services] ports: '2000-1999' is no range between"),
        ('[services]\nports = "1000-2000"', "[services] ports: '1000-2000' is no range between"),
        ('[services]\nports = "2000-70000"', "[services] ports: '2000-70000' is no range between"),
        ("[services]\ncpu_weight = 0", "[services] cpu_weight: must be a whole number >= 1"),
        (
            "[environments.previw]\nmemory_max = 1",
            "[environments]: unknown key 'previw'; its keys are: prod, staging, dev, preview",
        ),
        (
            '[environments.preview]\nsleep_after = "1 hour"',
            '[environments.preview] sleep_after: must be written like "30m" or "7d"',
        ),
        ("[projects]\nshop = 1", "[projects] shop: must be a table, not a whole number"),
        ("[projects.a]\n[projects.shop]\nx = 1", "[projects.shop]: unknown key 'x'; its keys are"),
        ("[projects.My_Shop]", "[projects.My_Shop]: a project is called by 1 to 39 of a-z, 0-9 an"),
        ("[projects.shop]\ndomains = [1]", "[projects.shop] domains[0]: must be text in quotes"),
        (
            '[projects.shop]\ntoken = "env:A"\nssh_key = "env:B"',
            "[projects.shop]: give token or ssh_key, not both",
        ),
        (
            '[projects.shop]\nsecret = "hunter2"',
            '[projects.shop] secret: must be written like "env:NAME" or "file:/path" or "credent',
        ),
        ("[plugins]\ncaddy = 1", "[plugins] caddy: must be a table, not a whole number"),
        ('allow = "acme/*"', "allow: must be a list, not text in quotes"),
        ('allow = ["acme"]', 'allow: \'acme\' is neither "OWNER/*" nor "OWNER/REPOSITORY"'),
        ('allow = ["*/*"]', "allow: '*/*' is neither"),
    ],
)
def test_a_wrong_file(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, source="/etc/kennel/kennel.toml")
    assert str(error.value).startswith(f"/etc/kennel/kennel.toml: {why}")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("table", TABLES)
def test_an_unknown_key_of_any_table(table: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"[{table}]\nno_such = 1", source="kennel.toml")
    keys = ", ".join(TABLES[table].__struct_fields__)
    assert str(error.value) == (
        f"kennel.toml: [{table}]: unknown key 'no_such'; its keys are: {keys}"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('state_dir = "here"', "state_dir: 'here' is no absolute path"),
        ('run_dir = "~/run"', "run_dir: '~/run' is no absolute path"),
        ('build.dir = "builds"', "[build] dir: 'builds' is no absolute path"),
        ('domains.target = "Edge.net"', "[domains] target: 'Edge.net' is neither an address nor"),
        ('domains.target = "1.2.3"', "[domains] target: '1.2.3' is neither an address nor a name"),
        ('domains.ephemeral = "https://x.org/"', "[domains] ephemeral: 'https://x.org/' is no"),
        (
            '[projects.shop]\nurl = "https://git.example.org/acme/shop"\ndomains = ["https://x"]',
            "[projects.shop] domains: 'https://x' is no host name",
        ),
    ],
)
def test_a_place_that_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, source="kennel.toml")
    assert str(error.value).startswith(f"kennel.toml: {why}")


def test_an_address_with_a_password_is_refused_and_not_shown() -> None:
    text = '[projects.shop]\nurl = "https://ada:hunter2@git.example.org/acme/shop"'
    with pytest.raises(ConfigError, match="has a password in it") as error:
        parse(text, source="kennel.toml")
    assert "hunter2" not in str(error.value)
    parse(text.replace(":hunter2", ""), source="kennel.toml")
