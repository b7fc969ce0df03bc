"""`kennel check-config`: whether the daemon would start, and with what."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from kennel.builtin.systemd import nft
from kennel.catalogue import Catalogue
from kennel.cli import session
from kennel.cli.outcome import Exit, Failure
from kennel.cli.words import approximately
from kennel.domain import Environment
from kennel.errors import ConfigError
from kennel.opening import refuse_without_target
from kennel.plugin.manager import Plugins, Ports, choose
from kennel.plugin.settings import PluginSettings, read_secret, secrets_elsewhere
from kennel.prerequisites import missing_programs
from kennel.settings import EnvironmentTable, ProjectTable, Settings, seconds
from kennel.terms import SLEEP_AFTER

SYSTEMD = "systemd"


def check_config(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="A kennel.toml. Default: the one in use.")
    ] = None,
    elsewhere: Annotated[
        bool,
        typer.Option(
            "--elsewhere",
            help="It is for another machine: look for no secrets and programs on this one.",
        ),
    ] = False,
) -> None:
    """Check kennel.toml and show what will be used."""
    here = session.of(context)
    if file is not None:
        here.config = file
    settings = here.settings
    wanted = PluginSettings(settings.tables, settings.plugin_host)
    plugins = Plugins.discover()
    with secrets_elsewhere() if elsewhere else nullcontext():
        ports = plugins.ports(wanted)
        refuse_without_target(settings, ports)
        lines = [*_described(settings, ports), *_not_on(Catalogue.of(ports, plugins, wanted))]
    if not elsewhere:
        lines += _lacking(settings)
    here.screen.pair("file".ljust(14), str(here.file or "(none: every default)"))
    for title, value in lines:
        here.screen.pair(title.ljust(14), value)
    here.screen.line("The configuration is good.", "green")


def _described(settings: Settings, ports: Ports) -> Iterator[tuple[str, str]]:
    """Yield what will be used. Raises ConfigError for what cannot be."""
    yield "state", str(settings.state_dir)
    yield "run", str(settings.run_dir)
    yield "database", _database(settings.database_url)
    yield "control", str(settings.control_socket)
    yield "web", f"http://{settings.web.host}:{settings.web.port}"
    yield "previews at", f"*.{settings.domains.ephemeral}"
    yield "idle previews", _idleness(settings)
    yield "webhooks", _webhook_secret(settings.webhook_secret_file)
    yield "supervisor", choose("supervisor", settings.supervisor, ports.supervisors).name
    yield "router", choose("router", settings.router, ports.routers).name
    for kind in fields(ports):
        offered = getattr(ports, kind.name)
        if kind.name not in {"supervisors", "routers"} and offered:
            yield kind.name.replace("_", " "), ", ".join(offered)
    if settings.projects:
        yield "projects", ", ".join(sorted(settings.projects))
    if settings.allow:
        yield "allowed", ", ".join(settings.allow)
    for name, project in settings.projects.items():
        yield from (("warning", what) for what in _unreadable(name, project, ports))


def _lacking(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what is not on this machine."""
    if missing := missing_programs():
        yield "warning", f"not on PATH here, and needed to build: {', '.join(missing)}"
    if _keeps_services_apart(settings) and nft.find() is None:
        yield "warning", "services reach each other's ports: nftables is not installed"


def _not_on(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Yield which resources are installed, and cannot be had as long as nobody says so."""
    for name, package in sorted(catalogue.off.items()):
        yield "not on", f"{package}: manifests may ask for it with [plugins.{name}]"


def _idleness(settings: Settings) -> str:
    """Return when previews sleep and go, as people say it."""
    table = settings.environments.get(Environment.PREVIEW, EnvironmentTable())
    sleep = SLEEP_AFTER if table.sleep_after is None else table.sleep_after
    return f"{_after('sleep', sleep)}, {_after('go', settings.previews.expire_after)}"


def _after(what: str, span: float | str) -> str:
    length = seconds(span)
    return f"never {what}" if length is None else f"{what} after {approximately(length)}"


def _keeps_services_apart(settings: Settings) -> bool:
    table = settings.tables.get(SYSTEMD, {})
    return settings.supervisor == SYSTEMD and table.get("firewall") != "off"


def _unreadable(name: str, table: ProjectTable, ports: Ports) -> Iterator[str]:
    """Yield which secrets of a project cannot be read: the daemon starts without them.

    Raises ConfigError for a forge that nobody understands, and a URL that names no repository.
    """
    from kennel.registry import full_name_of  # takes as long as the database does

    if table.forge not in ports.forges:
        raise ConfigError(
            f'[projects.{name}] forge: no "{table.forge}" here;'
            f" there is: {', '.join(sorted(ports.forges))}"
        )
    if table.url and not table.full_name:
        try:
            full_name_of(table.url)
        except ConfigError as error:
            raise ConfigError(f"[projects.{name}] url: {error}") from error
    for key in ("secret", "token", "ssh_key"):
        if reference := getattr(table, key):
            try:
                read_secret(reference, where=f"[projects.{name}] {key}")
            except ConfigError as error:
                yield str(error)


def _database(url: str) -> str:
    from sqlalchemy.engine import make_url  # takes half a second that other commands are spared
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
            raise ArgumentError(url)
        return parsed.render_as_string(hide_password=True)
    except ArgumentError as error:
        raise Failure(
            "database.url: not a database URL that Kennel knows",
            "write sqlite:////path/to/kennel.db or postgresql://user@host/name",
            code=Exit.USAGE,
        ) from error


def _webhook_secret(path: Path | None) -> str:
    if path is None:
        return "signed with the secret of each project"
    read_secret(f"file:{path}", where="webhook_secret_file")
    return f"signed with the secret in {path}"
