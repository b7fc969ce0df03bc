"""A group of commands that has one for when none is named."""

from typing import Any

from typer.core import TyperGroup

DEFAULT = "list"


class DefaultGroup(TyperGroup):
    """`kennel builds shop` is `kennel builds list shop`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)
