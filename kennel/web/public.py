"""The application that the world reaches: webhooks, health, and what Caddy asks."""

import asyncio
import math
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import (
    ClientException,
    HTTPException,
    InternalServerException,
    TooManyRequestsException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.handlers import HTTPRouteHandler

from kennel.plugin import Delivery, Forge
from kennel.web import problems
from kennel.web.limits import RateLimit
from kennel.web.ports import Inbox, Registry
from kennel.web.webhook import Reception

PATIENCE = 30.0
"""Seconds that a body may take to come in. Forges give up after 5 or 10."""
POST_ONLY = "deliveries come with POST: set the hook's method to POST"


def create_public_app(
    registry: Registry,
    inbox: Inbox,
    forges: Iterable[Forge],
    *,
    max_body: int,
    requests_per_minute: int = 0,
    patience: float = PATIENCE,
) -> Litestar:
    """Return the application.

    `max_body`: bytes of a webhook. `requests_per_minute`: webhooks of one client address; 0: no
    limit. `patience`: seconds that a body may take to come in.
    """
    reception = Reception(registry, inbox, forges)
    return Litestar(
        route_handlers=[
            _webhook(reception, RateLimit(requests_per_minute), patience),
            _not_with_get,
            _health,
            _permission(registry),
        ],
        exception_handlers=problems.PUBLIC,
        request_max_body_size=max_body,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


def _webhook(reception: Reception, limit: RateLimit, patience: float) -> HTTPRouteHandler:
    @post("/webhook")
    async def webhook(request: Request[Any, Any, Any]) -> Response[Any]:
        _refuse_too_many(request, limit)
        body = await _body(request, patience)
        answer = await reception.receive(Delivery(headers=_headers(request), body=body))
        return Response(answer.content, status_code=answer.status)

    return webhook


@get("/webhook")
async def _not_with_get() -> None:
    raise HTTPException(POST_ONLY, status_code=405, headers={"Allow": "POST"})


@get("/health")
async def _health() -> dict[str, str]:
    return {"status": "ok"}


def _permission(registry: Registry) -> HTTPRouteHandler:
    @get("/internal/caddy/permission")
    async def permission(request: Request[Any, Any, Any]) -> Response[Any]:
        """Tell Caddy whether to get a certificate for a host. It asks on this machine only."""
        if not _from_here(request):
            return problems.problem(404, "there is nothing here")
        domain = request.query_params.get("domain", "")
        if not registry.knows_host(domain.lower().removesuffix(".")):
            return problems.problem(404, "this is no host of Kennel's")
        return Response({"status": "ok"})

    return permission


def _refuse_too_many(request: Request[Any, Any, Any], limit: RateLimit) -> None:
    seconds = limit.wait(request.client.host) if request.client else 0.0
    if seconds:
        after = str(math.ceil(seconds))
        raise TooManyRequestsException(
            f"too many requests; try again in {after} s (web.requests_per_minute)",
            headers={"Retry-After": after},
        )


async def _body(request: Request[Any, Any, Any], patience: float) -> bytes:
    """Return the body, of which litestar reads no more than it may have."""
    try:
        async with asyncio.timeout(patience):
            return await request.body()
    except RequestEntityTooLarge:
        most = request.route_handler.resolve_request_max_body_size()
        raise RequestEntityTooLarge(f"the body has more than {most} bytes (web.max_body)") from None
    except TimeoutError:
        late = f"the body did not come within {patience:g} s"
        raise HTTPException(late, status_code=408, headers={"Connection": "close"}) from None
    except InternalServerException:  # what litestar makes of it; nobody is there to be told
        raise ClientException("the connection ended before the body did") from None


def _headers(request: Request[Any, Any, Any]) -> dict[str, str]:
    pairs = request.scope["headers"]
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


def _from_here(request: Request[Any, Any, Any]) -> bool:
    """Return whether a program of this machine asks, and not a proxy for somebody else."""
    if request.client is None or "x-forwarded-for" in request.headers:
        return False
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
