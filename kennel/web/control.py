"""The application behind the command line. Whoever may open its socket may do everything."""

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from litestar import Litestar, Request, Response, Router, delete, get, post
from litestar.params import Dependency, Parameter
from litestar.response import Stream

from kennel import views
from kennel.plugin.manager import Plugin
from kennel.web import problems
from kennel.web.ports import Control

T = TypeVar("T")
Asked: TypeAlias = Annotated[Control, Dependency(skip_validation=True)]
Limit: TypeAlias = Annotated[int, Parameter(ge=1, le=10_000)]
Number: TypeAlias = Annotated[int, Parameter(ge=1, le=2**63 - 1)]
TEXT = "text/plain; charset=utf-8"
LARGEST = 1024 * 1024


def create_control_app(control: Control) -> Litestar:
    """Return the application. Its JSON is that of `kennel.views`."""

    async def provide() -> Control:
        return control

    return Litestar(
        route_handlers=[Router("/api", route_handlers=HANDLERS)],
        dependencies={"control": provide},
        exception_handlers=problems.CONTROL,
        request_max_body_size=LARGEST,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


@get("/health")
async def health(control: Asked) -> views.Health:
    return await control.health()


@get("/status")
async def status(control: Asked, project: str | None = None) -> list[views.Deployment]:
    return list(await control.status(project))


@get("/projects")
async def projects(control: Asked) -> list[views.Project]:
    return list(await control.projects())


@post("/projects")
async def add_project(control: Asked, request: Request[Any, Any, Any]) -> views.Project:
    return await control.add_project(_decode(await request.body(), views.NewProject))


@delete("/projects/{name:str}")
async def remove_project(control: Asked, name: str) -> None:
    await control.remove_project(name)


@get("/builds")
async def builds(
    control: Asked, project: str | None = None, ref: str | None = None, limit: Limit = 20
) -> list[views.Build]:
    return list(await control.builds(project, ref, limit))


@get("/builds/{number:int}")
async def build(control: Asked, number: Number) -> views.Build:
    return await control.build(number)


@get("/builds/{number:int}/log", media_type=TEXT)
async def build_log(control: Asked, number: Number, follow: bool = False) -> Stream:
    """Stream a log. Whether there is such a build is asked first: a stream cannot answer 404."""
    await control.build(number)
    return Stream(control.build_log(number, follow=follow), media_type=TEXT)


@post("/builds/{number:int}/cancel", status_code=200)
async def cancel(control: Asked, number: Number) -> views.Build:
    return await control.cancel(number)


@post("/deploy", status_code=202)
async def deploy(control: Asked, request: Request[Any, Any, Any]) -> views.Build:
    return await control.deploy(_decode(await request.body(), views.DeployRequest))


@get("/plan")
async def plan(control: Asked) -> list[views.Step]:
    return list(await control.plan())


@get("/logs", media_type=TEXT)
async def logs(
    control: Asked, project: str, ref: str, name: str | None = None, lines: Limit = 100
) -> Response[str]:
    wrote = await control.unit_logs(project, ref, name, lines)
    return Response("".join(f"{line}\n" for line in wrote), media_type=TEXT)


@get("/deliveries")
async def deliveries(control: Asked, limit: Limit = 20) -> list[views.Delivery]:
    return list(await control.deliveries(limit))


@get("/plugins")
async def plugins(control: Asked) -> list[Plugin]:
    return list(await control.plugins())


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


def _decode(body: bytes, shape: type[T]) -> T:
    """Return JSON as `shape`. Raises ValueError naming the field that is wrong."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise ValueError(f"the body is not as expected: {error}") from error
    except RecursionError as error:
        raise ValueError("the body is nested too deeply") from error
