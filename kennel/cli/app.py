"""All commands in one place, and how their errors are shown."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from kennel.cli import (
    builds,
    check_config,
    commands,
    deliveries,
    demo,
    deploy,
    logs,
    plan,
    plugins,
    projects,
    refs,
    resources,
    serve,
    status,
    sweep,
)
from kennel.cli.outcome import Exit, Failure
from kennel.cli.screen import console, harmless
from kennel.cli.session import Session
from kennel.errors import ConfigError, KennelError, NotFound, PluginError

STATUSES = "\n".join(f"  {code.value:>3}  {code.meaning}" for code in Exit)
EPILOG = f"\b\nExit status:\n{STATUSES}"

app = typer.Typer(
    name="kennel",
    cls=commands.Commands,
    help="Push a branch, get a running copy of it.",
    epilog=EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kennel {version('kennel')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            envvar="KENNEL_CONFIG",
            metavar="FILE",
            help="The kennel.toml of the daemon. Default: ./kennel.toml, else"
            " /etc/kennel/kennel.toml, else every default.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del debug  # read by `run`, which is where errors end up
    context.obj = Session(config)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command()(serve.serve)
app.command()(demo.demo)
app.add_typer(projects.app, name="projects")
app.command()(status.status)
app.add_typer(builds.app, name="builds")
app.command()(logs.logs)
app.command()(deploy.deploy)
app.command()(refs.rollback)
app.command()(refs.restart)
app.command()(refs.redeploy)
app.command()(refs.stop)
app.command()(refs.start)
app.command()(refs.pin)
app.command()(refs.unpin)
app.command()(refs.approve)
app.command()(refs.purge)
app.command()(refs.removals)
app.command()(sweep.sweep)
app.command()(resources.resources)
app.command()(plan.plan)
app.command()(deliveries.deliveries)
app.command()(plugins.plugins)
app.command("check-config")(check_config.check_config)


def run(arguments: Sequence[str]) -> int:
    """Run one command line. Return its exit status; whatever goes wrong is told on stderr."""
    words = _global_first(arguments)
    try:
        command = typer.main.get_command(app)
        here = Session(_config_in(words))  # for what is asked before all options are read
        code = command(words, prog_name="kennel", standalone_mode=False, obj=here)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:
        return _explain(error, debug="--debug" in words)
    else:
        return code if isinstance(code, int) else Exit.OK


def _global_first(arguments: Sequence[str]) -> list[str]:
    """Let --config and --debug stand behind the command as well as before it."""
    front: list[str] = []
    rest = list(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    for i in reversed(range(end)):
        if rest[i] in {"--debug", "--config", "-c"} or rest[i].startswith("--config="):
            taken = 2 if rest[i] in {"--config", "-c"} else 1
            front = rest[i : i + taken] + front
            del rest[i : i + taken]
    return front + rest


def _config_in(words: Sequence[str]) -> Path | None:
    """Return what --config says, where `_global_first` has put it."""
    for word, following in zip(words, (*words[1:], ""), strict=True):
        if word in {"--config", "-c"}:
            return Path(following)
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
        if not word.startswith("-"):
            break
    return None


def _explain(error: Exception, *, debug: bool) -> int:
    """Tell what went wrong in a line or two."""
    message, hint, code = _told(error)
    screen = console(sys.stderr)
    if debug:
        screen.print("".join(traceback.format_exception(error)), soft_wrap=True, end="")
    screen.print("error: ", style="bold red", end="")
    screen.print(harmless(message), soft_wrap=True)
    if hint:
        screen.print(f"       {harmless(hint)}", soft_wrap=True)
    return code


def _told(error: Exception) -> tuple[str, str, Exit]:
    if isinstance(error, Failure):
        return str(error), error.hint, error.code
    if isinstance(error, typer.TyperException):
        return error.format_message(), f"see `{_help_of(error)}`", Exit.USAGE
    if isinstance(error, (ConfigError, PluginError)):
        return str(error), "", Exit.USAGE
    if isinstance(error, NotFound):
        return str(error), "", Exit.NOT_FOUND
    if isinstance(error, KennelError):
        return str(error), "", Exit.FAILED
    what = f"{type(error).__name__}: {error}".strip(": ")
    return (
        what,
        "this is a bug of Kennel, or something it never met: --debug says more",
        Exit.FAILED,
    )


def _help_of(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'kennel'} --help"


def _forget_stdout() -> None:
    """Whoever read our output has gone: let Python's own flush at exit go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
