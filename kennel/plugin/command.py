"""What people may order of a provisioner on the command line, such as a backup."""

from dataclasses import dataclass

from kennel.domain import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a provisioner: `kennel postgres backup PROJECT REF`.

    `help`: one line, for people. `ref`: whether it is about one ref, or about a whole project.
    `argument`: what one more word is called in the help, such as "BACKUP"; None: there is none,
    and it may be left out. `warning`: what it does that cannot be undone; it needs `--yes` then.
    """

    name: str
    help: str
    ref: bool = True
    argument: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command that was given. `project` is a registered one; `ref` is None if it has none."""

    project: str
    ref: Ref | None = None
    argument: str | None = None
