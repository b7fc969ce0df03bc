"""kennel.toml: what the operator says.

Everything has a default, so that no file at all is a working configuration (the embedded one).
An unknown key or a wrong type is an error that names the file, the table and the key.
"""

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from kennel.domain import Environment, Limits, names
from kennel.errors import ConfigError
from kennel.plugin import SecretReference
from kennel.plugin.settings import Host
from kennel.plugin.table import read_table

FIRST_PORT, LAST_PORT = 1024, 65535
"""What a service may listen on."""

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Span = (
    Annotated[float, Meta(ge=0)]
    | Annotated[str, Meta(pattern="^[0-9]{1,6}[smhd]$", examples=["30m", "7d"])]
)
"""A length of time: seconds, or a text such as "30m" or "7d". 0: never."""
SharedPath = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*(/[A-Za-z0-9_][A-Za-z0-9_.@-]*)*(/\*)?$",
        examples=["shared/smtp", "shared/*"],
    ),
]
"""The path of a secret in its source, or of all below one."""
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(span: float | str) -> float | None:
    """Return the seconds of a span; None: never."""
    if isinstance(span, str):
        return float(span[:-1]) * UNITS[span[-1]] or None
    return span or None


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of kennel.toml."""


class DatabaseTable(Table, frozen=True):
    """Where state is kept. `url`: an SQLAlchemy URL; None: SQLite in `state_dir`."""

    url: str | None = None


class WebTable(Table, frozen=True):
    """The HTTP server.

    `max_body`: bytes of a webhook. `requests_per_minute`: of one client address; 0: no limit.
    `trusted_proxies`: addresses whose X-Forwarded-For is believed.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 3000
    max_body: Positive = 10 * 1024 * 1024
    requests_per_minute: Annotated[int, Meta(ge=0)] = 6000
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")


class DomainsTable(Table, frozen=True):
    """`ephemeral`: every ref gets `{project}-{ref}.{ephemeral}`; a wildcard points it here.

    `target`: where DNS providers have custom domains lead, an address of this machine or a name.
    `publish_ephemeral`: whether they publish that wildcard, too.
    """

    ephemeral: str = "localhost"
    target: str | None = None
    publish_ephemeral: bool = False


class BuildTable(Table, frozen=True):
    """How commits are built.

    `dir`: where clones and checkouts are; None: in `state_dir`.
    `timeout`: seconds for a whole build. `memory_max`: bytes for each process of it.
    `log_max_bytes`: of one build's log; what is longer loses its middle. `log_days`: how long
    logs are kept. `keep`: good builds of a ref whose outputs stay out of the garbage.
    `isolation`: "systemd" runs evaluation and build in transient units, "process" in a session,
    "auto" chooses by the supervisor. `environment`: variables for Nix, never secrets.
    `nix_options`: extra arguments, such as ["--builders", "ssh://builder"]. `store` and
    `eval_store`: as Nix's options of the same names. `devenv`: the program that evaluates a
    devenv.nix, and `devenv_option`: what of it is built.
    """

    max_concurrent: Positive = 2
    dir: Path | None = None
    timeout: Seconds = 30 * 60.0
    memory_max: Positive | None = None
    log_max_bytes: Annotated[int, Meta(ge=4096)] = 16 * 1024 * 1024
    log_days: Positive = 30
    keep: Positive = 5
    isolation: Annotated[
        str, Meta(pattern="^(auto|systemd|process)$", examples=["auto", "systemd", "process"])
    ] = "auto"
    environment: dict[str, str] = field(default_factory=dict)
    nix_options: tuple[str, ...] = ()
    store: str | None = None
    eval_store: str | None = None
    devenv: str = "devenv"
    devenv_option: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.-]*$", examples=["acme.config"])] = (
        "scottylabs.kennel.config"
    )


class ServicesTable(Table, frozen=True):
    """How services run.

    `ports`: "FIRST-LAST", outside the range the kernel gives to outgoing connections.
    `ready_timeout`: seconds a service may take to get ready. `settle_time`: seconds that one
    without a port has to run until it counts as ready. `drain`: seconds a replaced one goes on,
    for requests under way. `memory_max` (bytes), `cpu_weight` and `tasks_max`: what a service gets
    at most, and unless it asks for less.
    """

    ports: Annotated[str, Meta(pattern="^[0-9]{4,5}-[0-9]{4,5}$", examples=["20000-29999"])] = (
        "20000-29999"
    )
    ready_timeout: Seconds = 60.0
    settle_time: Annotated[float, Meta(ge=0)] = 2.0
    drain: Annotated[float, Meta(ge=0)] = 5.0
    memory_max: Positive = 1024 * 1024 * 1024
    cpu_weight: Annotated[int, Meta(ge=1, le=10000)] = 100
    tasks_max: Positive = 512

    @property
    def port_range(self) -> range:
        first, _, last = self.ports.partition("-")
        return range(int(first), int(last) + 1)

    @property
    def limits(self) -> Limits:
        return Limits(
            memory_max=self.memory_max, cpu_weight=self.cpu_weight, tasks_max=self.tasks_max
        )


class EnvironmentTable(Table, frozen=True):
    """What holds in one environment.

    `sleep_after`: how long a ref may go without a push and without a request until its services
    are stopped; the next request starts them. 0: never. `memory_max` (bytes), `cpu_weight` and
    `tasks_max`: of each of its services, instead of those in [services].
    """

    sleep_after: Span | None = None
    memory_max: Positive | None = None
    cpu_weight: Annotated[int, Meta(ge=1, le=10000)] | None = None
    tasks_max: Positive | None = None


class PreviewsTable(Table, frozen=True):
    """How previews come and go.

    `expire_after`: how long one may go without a push and without a request until all of it is
    removed; 0: never. `approval_label`: the label that lets the present commit of a pull request
    from a fork be built. `memory_max`: bytes that the services of all previews may use together;
    beyond that, those idle longest sleep.
    """

    expire_after: Span = "30d"
    approval_label: str = "kennel: deploy"
    memory_max: Positive | None = None


class SweepTable(Table, frozen=True):
    """`every`: seconds between two looks at the refs of every repository, for lost webhooks."""

    every: Seconds = 60.0


class ReconcileTable(Table, frozen=True):
    """`every`: seconds between passes that nothing asked for. `parallel`: tenants at a time."""

    every: Seconds = 30.0
    parallel: Positive = 16


class SecretsTable(Table, frozen=True):
    """Where secrets may come from, for every project.

    `shared`: paths in the sources that any secretspec.toml may refer to; one that ends in `/*`
    stands for everything below. `providers`: what commits call a source → the source.
    """

    shared: tuple[SharedPath, ...] = ()
    providers: dict[str, str] = field(default_factory=dict)


class ProjectTable(Table, frozen=True):
    """A project the operator registers, or grants something.

    `url`: what is cloned. `full_name`: OWNER/NAME at the forge; read from `url` by default.
    `domains`: custom domains it may use; `*.example.org` stands for one label. `secret`: of its
    webhooks. `token` or `ssh_key`: to clone it with. `previews`: whether pull requests and branches
    other than main, staging and dev are deployed. `secrets`: whether pull requests from forks get
    any once they are approved. `shared_secrets`: paths that its secretspec.toml may refer to,
    besides those of [secrets]. `memory_max`, `cpu_weight`, `tasks_max`, and
    `sleep_after` of its previews: for this project, instead of those of its environments.
    """

    url: str | None = None
    forge: str = "forgejo"
    full_name: str | None = None
    default_branch: str = "main"
    domains: tuple[str, ...] = ()
    secret: SecretReference | None = None
    token: SecretReference | None = None
    ssh_key: SecretReference | None = None
    previews: bool = True
    secrets: Literal["own", "approved-forks"] = "own"
    shared_secrets: tuple[SharedPath, ...] = ()
    memory_max: Positive | None = None
    cpu_weight: Annotated[int, Meta(ge=1, le=10000)] | None = None
    tasks_max: Positive | None = None
    sleep_after: Span | None = None


def _default_dir(hint: str, as_root: str, user_base: str, fallback: str) -> Path:
    """Return what systemd says, else the place that belongs to us."""
    if given := os.environ.get(hint, "").partition(":")[0]:
        return Path(given)
    if os.geteuid() == 0:
        return Path(as_root)
    return Path(os.environ.get(user_base) or Path.home() / fallback, "kennel")


def _state_dir() -> Path:
    return _default_dir("STATE_DIRECTORY", "/var/lib/kennel", "XDG_STATE_HOME", ".local/state")


def _run_dir() -> Path:
    return _default_dir("RUNTIME_DIRECTORY", "/run/kennel", "XDG_RUNTIME_DIR", ".cache")


def _supervisor() -> str:
    return "systemd" if Path("/run/systemd/system").is_dir() and os.geteuid() == 0 else "process"


class Settings(Table, frozen=True):
    """All of kennel.toml.

    `state_dir` is kept over reboots, `run_dir` should be a tmpfs. `host`: this machine's name in
    the store. `allow`: owners and repositories whose first signed webhook registers them, such as
    "ScottyLabs/*". `webhook_secret_file`: holds the secret that forges sign with.
    """

    state_dir: Path = field(default_factory=_state_dir)
    run_dir: Path = field(default_factory=_run_dir)
    host: str = field(default_factory=socket.gethostname)
    supervisor: str = field(default_factory=_supervisor)
    router: str = "caddy"
    webhook_secret_file: Path | None = None
    allow: tuple[str, ...] = ()
    database: DatabaseTable = field(default_factory=DatabaseTable)
    web: WebTable = field(default_factory=WebTable)
    domains: DomainsTable = field(default_factory=DomainsTable)
    build: BuildTable = field(default_factory=BuildTable)
    services: ServicesTable = field(default_factory=ServicesTable)
    reconcile: ReconcileTable = field(default_factory=ReconcileTable)
    environments: dict[Environment, EnvironmentTable] = field(default_factory=dict)
    previews: PreviewsTable = field(default_factory=PreviewsTable)
    sweep: SweepTable = field(default_factory=SweepTable)
    secrets: SecretsTable = field(default_factory=SecretsTable)
    projects: dict[str, ProjectTable] = field(default_factory=dict)
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.state_dir / 'kennel.db'}"

    @property
    def control_socket(self) -> Path:
        """Return where the daemon answers the command line."""
        return self.run_dir / "control.sock"

    @property
    def secrets_dir(self) -> Path:
        """Return where secrets are worked out: on a tmpfs, and empty between two times."""
        return self.run_dir / "secrets"

    @property
    def waker_socket(self) -> Path:
        """Return where requests go that wake who sleeps."""
        return self.run_dir / "wake.sock"

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Return `[plugins.*]` with what is on without being asked for."""
        default = (self.supervisor, self.router, "forgejo", "github")
        return {**{name: {} for name in default}, **self.plugins}

    @property
    def plugin_host(self) -> Host:
        address = "127.0.0.1" if self.web.host in WILDCARDS else self.web.host
        literal = f"[{address}]" if ":" in address else address
        return Host(
            state_dir=self.state_dir,
            run_dir=self.run_dir,
            domain=self.domains.ephemeral,
            api_url=f"http://{literal}:{self.web.port}",
            ports=self.services.port_range,
        )


WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104
"""What `web.host` is when every address is meant."""

PLACES = ("kennel.toml", "/etc/kennel/kennel.toml")
"""Where the file is looked for when nobody says."""


def find() -> Path | None:
    """Return the configuration file: $KENNEL_CONFIG, else the first of `PLACES`, else None."""
    if given := os.environ.get("KENNEL_CONFIG"):
        return Path(given)
    return next((path for path in map(Path, PLACES) if path.is_file()), None)


def load(path: Path | None) -> Settings:
    """Read and check kennel.toml; None: the defaults. Raises ConfigError that names the key."""
    if path is None:
        return Settings()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    return parse(text.decode(errors="replace"), source=str(path))


def parse(text: str, *, source: str) -> Settings:
    """Read the text of a kennel.toml. `source` names it in errors."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: {error}") from error
    settings = read_table(raw, Settings, file=source)
    _check(settings, source)
    return settings


def _check(settings: Settings, source: str) -> None:
    """Refuse what has the right type and still makes no sense."""
    _check_places(settings, source)
    for name, table in settings.projects.items():
        if not names.PROJECT.fullmatch(name):
            raise ConfigError(
                f"{source}: [projects.{name}]: a project is called by 1 to 39 of a-z, 0-9 and -,"
                f" such as {names.slug(name) or 'shop'!r}"
            )
        if table.token and table.ssh_key:
            raise ConfigError(f"{source}: [projects.{name}]: give token or ssh_key, not both")
        if table.url and names.has_password(table.url):
            raise ConfigError(
                f"{source}: [projects.{name}] url: has a password in it, which would be shown."
                ' Leave it out, and say where it is: token = "file:/path"'
            )
        for domain in table.domains:
            if not names.HOST.fullmatch(domain.removeprefix("*.")):
                raise ConfigError(
                    f"{source}: [projects.{name}] domains: {domain!r} is no host name in lower"
                    ' case, such as "shop.example.org" or "*.example.org"'
                )
    ports = settings.services.port_range
    if not (FIRST_PORT <= ports.start < ports.stop <= LAST_PORT + 1):
        raise ConfigError(
            f"{source}: [services] ports: {settings.services.ports!r} is no range between"
            f' {FIRST_PORT} and {LAST_PORT}, such as "20000-29999"'
        )
    for pattern in settings.allow:
        if not re.fullmatch(r"[^/*]+/(\*|[^/*]+)", pattern):
            raise ConfigError(
                f'{source}: allow: {pattern!r} is neither "OWNER/*" nor "OWNER/REPOSITORY"'
            )


def _is_target(text: str) -> bool:
    """Return whether a name can lead there: to an address, or to a name that looks like none."""
    is_name = names.HOST.fullmatch(text) and not text.rpartition(".")[2].isdigit()
    return bool(is_name) or names.is_address(text)


def _check_places(settings: Settings, source: str) -> None:
    """Refuse folders that depend on where one stands, and names and addresses that are none."""
    for key in ("state_dir", "run_dir"):
        folder: Path = getattr(settings, key)
        if not folder.is_absolute():
            raise ConfigError(
                f"{source}: {key}: {str(folder)!r} is no absolute path, such as"
                f' "{Path.home() / "kennel"}"'
            )
    if settings.build.dir is not None and not settings.build.dir.is_absolute():
        raise ConfigError(
            f"{source}: [build] dir: {str(settings.build.dir)!r} is no absolute path, such as"
            ' "/var/lib/kennel/builds"'
        )
    target = settings.domains.target
    if target is not None and not _is_target(target):
        raise ConfigError(
            f"{source}: [domains] target: {target!r} is neither an address nor a name in lower"
            ' case, such as "203.0.113.7" or "edge.example.net"'
        )
    domain = settings.domains.ephemeral
    if not names.HOST.fullmatch(f"shop-main.{domain}"):
        raise ConfigError(
            f"{source}: [domains] ephemeral: {domain!r} is no domain in lower case, such as"
            ' "preview.example.net"'
        )
