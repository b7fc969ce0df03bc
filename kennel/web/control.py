"""The application behind the command line. Whoever may open its socket may do everything."""

from typing import Any, TypeAlias

from litestar import Litestar, MediaType, Request, Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.response import Stream

from kennel import views
from kennel.errors import NotFound
from kennel.plugin.manager import Plugin
from kennel.web import problems, query
from kennel.web.orders import HANDLERS as ORDERS
from kennel.web.orders import sent
from kennel.web.ports import Commands, Control, Inventory, Orders, Sweeps
from kennel.web.resources import HANDLERS as RESOURCES
from kennel.web.sweeping import HANDLERS as SWEEPING

AnyRequest: TypeAlias = Request[Any, Any, Any]
LARGEST = 1024 * 1024
"""Bytes of a body."""
DIGITS = 62
"""Bits of a build's number, at most: a database has no larger ones."""


def create_control_app(
    control: Control,
    orders: Orders,
    sweeps: Sweeps,
    inventory: Inventory,
    commands: Commands[Any],
) -> Litestar:
    """Return the application. Its JSON is that of `kennel.views`."""
    behind = {
        "control": control,
        "orders": orders,
        "sweeps": sweeps,
        "inventory": inventory,
        "commands": commands,
    }
    return Litestar(
        route_handlers=[Router("/api", route_handlers=[*HANDLERS, *ORDERS, *SWEEPING, *RESOURCES])],
        state=State(behind),
        exception_handlers=problems.CONTROL,
        request_max_body_size=LARGEST,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


@get("/health")
async def health(request: AnyRequest) -> views.Health:
    return await _asked(request).health()


@get("/status")
async def status(request: AnyRequest) -> list[views.Deployment]:
    return list(await _asked(request).status(query.of(request, query.Status).project))


@get("/projects")
async def projects(request: AnyRequest) -> list[views.Project]:
    return list(await _asked(request).projects())


@post("/projects")
async def add_project(request: AnyRequest) -> views.Project:
    return await _asked(request).add_project(await sent(request, views.NewProject))


@delete("/projects/{name:str}")
async def remove_project(request: AnyRequest) -> None:
    await _asked(request).remove_project(request.path_params["name"])


@get("/builds")
async def builds(request: AnyRequest) -> list[views.Build]:
    want = query.of(request, query.Builds)
    return list(await _asked(request).builds(want.project, want.ref, want.limit))


@get("/builds/{number:int}")
async def build(request: AnyRequest) -> views.Build:
    return await _asked(request).build(_number(request))


@get("/builds/{number:int}/log", media_type=MediaType.TEXT)
async def build_log(request: AnyRequest) -> Stream:
    """Stream a log. Whether there is such a build is asked first: a stream cannot answer 404."""
    number, control = _number(request), _asked(request)
    follow = query.of(request, query.BuildLog).follow
    await control.build(number)
    return Stream(control.build_log(number, follow=follow), media_type=MediaType.TEXT)


@post("/builds/{number:int}/cancel", status_code=200)
async def cancel(request: AnyRequest) -> views.Build:
    return await _asked(request).cancel(_number(request))


@post("/deploy", status_code=202)
async def deploy(request: AnyRequest) -> views.Build:
    return await _asked(request).deploy(await sent(request, views.DeployRequest))


@get("/plan")
async def plan(request: AnyRequest) -> list[views.Step]:
    return list(await _asked(request).plan())


@get("/logs", media_type=MediaType.TEXT)
async def logs(request: AnyRequest) -> Response[str]:
    want = query.of(request, query.Logs)
    wrote = await _asked(request).unit_logs(want.project, want.ref, want.name, want.lines)
    return Response("".join(f"{line}\n" for line in wrote), media_type=MediaType.TEXT)


@get("/deliveries")
async def deliveries(request: AnyRequest) -> list[views.Delivery]:
    return list(await _asked(request).deliveries(query.of(request, query.Deliveries).limit))


@get("/plugins")
async def plugins(request: AnyRequest) -> list[Plugin]:
    return list(await _asked(request).plugins())


HANDLERS = [
    health,
    status,
    projects,
    add_project,
    remove_project,
    builds,
    build,
    build_log,
    cancel,
    deploy,
    plan,
    logs,
    deliveries,
    plugins,
]


def _asked(request: AnyRequest) -> Control:
    control: Control = request.app.state.control
    return control


def _number(request: AnyRequest) -> int:
    number: int = request.path_params["number"]
    if number.bit_length() > DIGITS:
        raise NotFound(f"there is no build {number:.3g}")
    return number
