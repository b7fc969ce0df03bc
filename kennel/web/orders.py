"""Orders about a ref, on the control socket."""

from typing import Any, TypeVar

import msgspec
from litestar import Request, get, post

from kennel import views
from kennel.web.ports import Orders

T = TypeVar("T")


@post("/rollback", status_code=202)
async def rollback(request: Request[Any, Any, Any]) -> views.Build:
    number = await _orders(request).rollback(await sent(request, views.RollbackOrder))
    return await _build(request, number)


@post("/restart", status_code=202)
async def restart(request: Request[Any, Any, Any]) -> views.Build:
    return await _build(request, await _orders(request).restart(await sent(request, views.Order)))


@post("/redeploy", status_code=202)
async def redeploy(request: Request[Any, Any, Any]) -> views.Build:
    return await _build(request, await _orders(request).redeploy(await sent(request, views.Order)))


@post("/stop", status_code=202)
async def stop(request: Request[Any, Any, Any]) -> views.Done:
    return views.Done(message=await _orders(request).stop(await sent(request, views.Order)))


@post("/start", status_code=202)
async def start(request: Request[Any, Any, Any]) -> views.Done:
    return views.Done(message=await _orders(request).start(await sent(request, views.Order)))


@post("/pin", status_code=200)
async def pin(request: Request[Any, Any, Any]) -> views.Done:
    return views.Done(message=await _orders(request).pin(await sent(request, views.PinOrder)))


@post("/approve", status_code=202)
async def approve(request: Request[Any, Any, Any]) -> views.Done:
    order = await sent(request, views.ApproveOrder)
    return views.Done(message=await _orders(request).approve(order))


@post("/purge", status_code=202)
async def purge(request: Request[Any, Any, Any]) -> views.Done:
    return views.Done(message=await _orders(request).purge(await sent(request, views.Order)))


@get("/removals")
async def removals(request: Request[Any, Any, Any]) -> list[views.Removal]:
    return list(await _orders(request).removals())


@post("/removals/allow", status_code=202)
async def allow_removals(request: Request[Any, Any, Any]) -> list[views.Removal]:
    return list(await _orders(request).allow_removals())


HANDLERS = [
    rollback,
    restart,
    redeploy,
    stop,
    start,
    pin,
    approve,
    purge,
    removals,
    allow_removals,
]


def _orders(request: Request[Any, Any, Any]) -> Orders:
    orders: Orders = request.app.state.orders
    return orders


async def _build(request: Request[Any, Any, Any], number: int) -> views.Build:
    build: views.Build = await request.app.state.control.build(number)
    return build


async def sent(request: Request[Any, Any, Any], shape: type[T]) -> T:
    """Return the JSON body as `shape`. Raises ValueError naming what is wrong."""
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except msgspec.DecodeError as error:
        raise ValueError(f"the body is not as expected: {error}") from error
