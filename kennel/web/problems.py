"""Errors as answers: `{"error": "..."}` with the right status, and never a traceback."""

import logging
from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import uuid4

from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ExceptionHandlersMap

from kennel.errors import Conflict, KennelError, NotFound, PluginError, Unavailable
from kennel.views import Problem

logger = logging.getLogger(__name__)
AnyRequest: TypeAlias = Request[Any, Any, Any]

KNOWN: tuple[tuple[type[KennelError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (Unavailable, 503),
    (PluginError, 500),
)
"""What a kind of error is in HTTP. All others are what somebody asked for and cannot have: 400."""


def problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response[Problem]:
    """Return an answer that is not a success."""
    return Response(Problem(error=text), status_code=status, headers=dict(headers or {}))


def refused(request: AnyRequest, error: HTTPException) -> Response[Problem]:
    """Answer what the framework or a handler refuses."""
    return problem(error.status_code, _text(request, error), error.headers)


def _text(request: AnyRequest, error: HTTPException) -> str:
    path = ascii(request.url.path)[1:-1][:200]
    if type(error) is NotFoundException and error.detail == "Not Found":
        return f"there is nothing at {path}"
    if type(error) is MethodNotAllowedException:
        return f"{path} does not take {request.method}"
    details = [f"{e.get('key')}: {e.get('message')}" for e in _extra(error)]
    return "; ".join(details) or error.detail


def _extra(error: HTTPException) -> list[dict[str, Any]]:
    extra = error.extra if isinstance(error.extra, list) else []
    return [one for one in extra if isinstance(one, dict)]


def known(_request: AnyRequest, error: KennelError) -> Response[Problem]:
    """Answer what Kennel refuses, in its words: they are written for people."""
    status = next((status for kind, status in KNOWN if isinstance(error, kind)), 400)
    return problem(status, str(error))


def senseless(_request: AnyRequest, error: ValueError) -> Response[Problem]:
    """Answer what makes no sense, such as a ref that cannot be one."""
    return problem(400, str(error))


def unexpected(request: AnyRequest, error: Exception) -> Response[Problem]:
    """Answer what should not happen. What it was is for the log only."""
    number = uuid4().hex[:12]
    logger.error(
        "internal error %s in %s %s",
        number,
        request.method,
        ascii(request.url.path),
        exc_info=error,
    )
    return problem(500, f"internal error {number}; Kennel's log says more under this number")


PUBLIC: ExceptionHandlersMap = {
    HTTPException: refused,
    Exception: unexpected,
}
CONTROL: ExceptionHandlersMap = {
    **PUBLIC,
    KennelError: known,
    ValueError: senseless,
}
