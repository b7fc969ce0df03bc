"""Looks at repositories, on the control socket."""

from typing import Any

from litestar import Request, post

from kennel import views
from kennel.web.orders import sent
from kennel.web.ports import Sweeps


@post("/sweep", status_code=200)
async def sweep(request: Request[Any, Any, Any]) -> list[views.Swept]:
    return list(await _sweeps(request).sweep(await sent(request, views.SweepOrder)))


HANDLERS = [sweep]


def _sweeps(request: Request[Any, Any, Any]) -> Sweeps:
    sweeps: Sweeps = request.app.state.sweeps
    return sweeps
