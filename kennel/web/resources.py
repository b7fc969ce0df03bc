"""Resources and the commands of provisioners, on the control socket."""

from typing import Any

from litestar import Request, get, post
from litestar.response import Stream

from kennel import views
from kennel.web import query
from kennel.web.orders import sent
from kennel.web.ports import Commands, Inventory

LINES = "application/x-ndjson"


@get("/resources")
async def resources(request: Request[Any, Any, Any]) -> views.Resources:
    inventory: Inventory = request.app.state.inventory
    return await inventory.resources(query.of(request, query.Resources).project)


@get("/commands")
async def commands(request: Request[Any, Any, Any]) -> list[views.Command]:
    return list(_commands(request).commands())


@post("/commands", status_code=200, media_type=LINES)
async def command(request: Request[Any, Any, Any]) -> Stream:
    """Stream what is told. What cannot be meant is refused first: a stream cannot answer 404."""
    accepted = await _commands(request).accept(await sent(request, views.CommandOrder))
    return Stream(_commands(request).carry_out(accepted), media_type=LINES)


HANDLERS = [resources, commands, command]


def _commands(request: Request[Any, Any, Any]) -> Commands[Any]:
    found: Commands[Any] = request.app.state.commands
    return found
