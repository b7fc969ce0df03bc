"""`kennel plugins`: what is installed, and what is on."""

import typer

from kennel.cli import session
from kennel.cli.screen import Column, Row
from kennel.cli.session import AsJson
from kennel.plugin.manager import Plugin, Plugins
from kennel.plugin.settings import PluginSettings

COLUMNS = (
    Column("NAME"),
    Column("VERSION"),
    Column("PACKAGE", spare=2),
    Column("OFFERS", spare=1),
    Column("ON"),
)


def plugins(context: typer.Context, as_json: AsJson = False) -> None:
    """List what plugins are installed, and which are on."""
    here = session.of(context)
    wanted = PluginSettings(here.settings.tables, here.settings.plugin_host)
    found = Plugins.discover().listing(wanted)
    if as_json:
        here.json(found)
    else:
        here.screen.table(COLUMNS, [_row(plugin) for plugin in found])


def _row(plugin: Plugin) -> Row:
    return Row(
        (
            plugin.name,
            plugin.version,
            plugin.package,
            ", ".join(plugin.kinds) or "-",
            "on" if plugin.on else f"off: {plugin.why}",
        )
    )
