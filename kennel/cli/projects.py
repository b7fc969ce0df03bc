"""`kennel projects`: which repositories are deployed."""

from typing import Annotated

import typer

from kennel.cli import repository, session
from kennel.cli.default_group import DefaultGroup
from kennel.cli.outcome import Exit, Failure
from kennel.cli.screen import Column, Row
from kennel.cli.session import AsJson
from kennel.views import NewProject, Project

app = typer.Typer(
    cls=DefaultGroup, help="List (the default), add and remove projects.", rich_markup_mode=None
)

COLUMNS = (
    Column("NAME"),
    Column("REPOSITORY"),
    Column("FORGE", spare=2),
    Column("DEFAULT BRANCH", spare=4),
    Column("PREVIEWS", spare=3),
    Column("REFS"),
    Column("DOMAINS", spare=1),
)
REFERENCES = ("env:", "file:", "credential:")


@app.command("list")
def list_projects(context: typer.Context, as_json: AsJson = False) -> None:
    """List the projects."""
    here = session.of(context)
    with here.daemon() as daemon:
        found = daemon.projects()
    if as_json:
        here.json(found)
    elif not found:
        here.screen.note("There are no projects: add one with `kennel projects add URL`.")
    else:
        here.screen.table(COLUMNS, [_row(p) for p in sorted(found, key=lambda p: p.name)])


def _row(project: Project) -> Row:
    return Row(
        (
            project.name,
            project.full_name,
            project.forge,
            project.default_branch,
            "yes" if project.previews else "no",
            str(project.refs),
            ", ".join(project.domains) or "-",
        ),
        "being removed" if project.removed else "",
    )


@app.command()
def add(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(help="https://HOST/OWNER/NAME, git@HOST:OWNER/NAME.git or a path.")
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="What it is called here. Default: the repository's name.")
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(help="A custom domain it may use; more than one may be given."),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="Where its webhook secret is: env:NAME, file:/path, credential:name."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Where the token to clone it with is, in the same form.")
    ] = None,
    ssh_key: Annotated[
        str | None, typer.Option(help="Where the key to clone it with is, in the same form.")
    ] = None,
    forge: Annotated[
        str | None, typer.Option(help="forgejo or github. Default: read from the address.")
    ] = None,
    default_branch: Annotated[str, typer.Option(help="The branch policy is read from.")] = "main",
    previews: Annotated[
        bool, typer.Option("--previews/--no-previews", help="Deploy more than main.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Register a repository."""
    here = session.of(context)
    address = repository.parse(url)
    request = NewProject(
        url=address.url,
        name=name,
        forge=forge or address.forge,
        full_name=address.full_name,
        default_branch=default_branch,
        domains=domain or [],
        secret=_reference("--secret", secret),
        token=_reference("--token", token),
        ssh_key=_reference("--ssh-key", ssh_key),
        previews=previews,
    )
    with here.daemon() as daemon:
        project = daemon.add_project(request)
    if as_json:
        here.json(project)
        return
    here.screen.line(f"{project.name} is registered: {project.full_name} ({project.forge})")
    here.screen.note(
        f"Point its webhook at Kennel, or start with `kennel deploy {project.name}"
        f" {project.default_branch}`."
    )


def _reference(option: str, value: str | None) -> str | None:
    """Refuse a secret itself: it would be in the shell's history and the process list."""
    if value is not None and not (value.startswith(REFERENCES) and value.partition(":")[2]):
        raise Failure(
            f"{option} says where the secret is, not what it is",
            "write env:NAME, file:/path or credential:name, as the daemon can read it",
            code=Exit.USAGE,
        )
    return value


@app.command()
def remove(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The project.")]
) -> None:
    """Take a project away with everything its refs have. Production data is kept."""
    here = session.of(context)
    with here.daemon() as daemon:
        daemon.remove_project(name)
    here.screen.note(f"{name} is being removed: `kennel status {name}` shows what is left.")
