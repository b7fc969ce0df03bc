"""Commands of provisioners: `kennel postgres backup PROJECT REF`, as the daemon tells of them."""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kennel.cli import session
from kennel.cli.client import Daemon
from kennel.cli.outcome import Exit, Failure
from kennel.cli.screen import harmless
from kennel.errors import KennelError
from kennel.views import Command, CommandOrder

BRIEFLY = 0.5
"""Seconds that the help waits for the daemon."""
KEYWORD, POSITIONAL = Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD


class Commands(TyperGroup):
    """Kennel's own commands, and those of the provisioners of the daemon that runs.

    It is asked only where that matters: for the help, and for what is no command of Kennel's own.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        try:
            found = _asked(ctx, within=BRIEFLY)
        except (Failure, KennelError):
            return own
        return own + [name for name in _resources(found) if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name.startswith("-"):
            return own
        try:
            found = _asked(ctx)
        except Failure:
            if cmd_name in entry_points(group="kennel").names:
                raise
            return None
        mine = [one for one in found if one.resource == cmd_name]
        return group_of(mine) if mine else None


class OfAResource(TyperGroup):
    """The commands of one provisioner."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is None and not cmd_name.startswith("-"):
            there = ", ".join(self.commands)
            raise Failure(
                f"{self.name} has no command {cmd_name!r}; there is: {there}", code=Exit.NOT_FOUND
            )
        return found


def _asked(ctx: Any, within: float | None = None) -> list[Command]:
    """Return what the daemon knows, asked once for each command line. Raises Failure."""
    known: dict[str, list[Command]] = ctx.meta
    if "kennel.commands" not in known:
        here = session.of(ctx)
        with here.daemon() as daemon:
            known["kennel.commands"] = daemon.commands(within=within)
    return known["kennel.commands"]


def _resources(commands: Sequence[Command]) -> list[str]:
    return list(dict.fromkeys(one.resource for one in commands))


def group_of(commands: Sequence[Command]) -> Any:
    """Return the commands of one resource as the command line has them."""
    resource = commands[0].resource
    said = ", ".join(one.name for one in commands)
    group = typer.Typer(
        cls=OfAResource,
        name=resource,
        help=f"Orders about {resource}: {said}.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )
    group.callback()(lambda: None)
    for one in commands:
        group.command(one.name, help=one.help)(_function(one))
    return typer.main.get_group(group)


def _function(command: Command) -> Callable[..., None]:
    """Return what carries out a command, with the parameters that it has."""

    def give(context: typer.Context, **given: Any) -> None:
        order = CommandOrder(
            resource=command.resource,
            command=command.name,
            project=given["project"],
            ref=given.get("ref"),
            argument=given.get("argument"),
            confirmed=not command.warning or given["yes"] or _asks(command, given),
        )
        here = session.of(context)
        with here.daemon() as daemon:
            _carry_out(daemon, order, here.screen.raw)

    give.__signature__ = Signature(list(_parameters(command)))  # type: ignore[attr-defined]
    return give


def _parameters(command: Command) -> Sequence[Parameter]:
    found = [
        Parameter("context", POSITIONAL, annotation=typer.Context),
        Parameter(
            "project",
            POSITIONAL,
            annotation=Annotated[str, typer.Argument(help="The project.")],
        ),
    ]
    if command.ref:
        ref = Annotated[str, typer.Argument(help="The branch or pr-N.")]
        found.append(Parameter("ref", POSITIONAL, annotation=ref))
    if command.argument is not None:
        word = Annotated[str | None, typer.Argument(metavar=command.argument)]
        found.append(Parameter("argument", POSITIONAL, annotation=word, default=None))
    if command.warning:
        yes = Annotated[bool, typer.Option("--yes", help=f"Do not ask: {command.warning}.")]
        found.append(Parameter("yes", KEYWORD, annotation=yes, default=False))
    return found


def _asks(command: Command, given: dict[str, Any]) -> bool:
    """Ask the person, where there is one. Raises Failure if that is not what they want."""
    words = [command.resource, command.name, given["project"], given.get("ref")]
    line = " ".join(word for word in (*words, given.get("argument")) if word)
    warning = harmless(command.warning or "")
    if sys.stdin.isatty() and sys.stderr.isatty():
        typer.echo(f"{warning}.", err=True)
        typer.echo(f"Type yes to go on with `kennel {harmless(line)}`: ", err=True, nl=False)
        if sys.stdin.readline().strip().lower() == "yes":
            return True
        raise Failure("nothing was done")
    raise Failure(
        f"{warning}: this has to be confirmed",
        f"if that is meant: kennel {harmless(line)} --yes",
        code=Exit.USAGE,
    )


def _carry_out(daemon: Daemon, order: CommandOrder, write: Callable[[str], None]) -> None:
    """Show what is told until the command is over. Raises Failure if it failed."""
    for told in daemon.command(order):
        if not told.over:
            write(f"{told.line}\n")
        elif told.problem:
            raise Failure(told.problem)
        else:
            return
    raise Failure(
        "the connection to Kennel broke off: it is not known how the command ended",
        "see the daemon's log",
    )
