"""What the waker says itself, as a page or as plain text. Pure."""

import base64
import html
import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus

STYLE = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:1rem}"
SCRIPT = "setTimeout(function(){location.reload()},%d)"
"""Asks again for the very same address, with what stands behind its #."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the waker's own. `again`: seconds after which to ask once more.

    `asks`: a page does that by itself.
    """

    status: HTTPStatus
    title: str
    text: str
    again: float | None = None
    asks: bool = False


WAKING = Answer(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    title="Waking up",
    text="This deployment was asleep. It will be here in a moment.",
    again=1,
    asks=True,
)
LATE = Answer(
    status=HTTPStatus.GATEWAY_TIMEOUT,
    title="Not awake yet",
    text="This deployment was asleep and takes long to wake up. Try again soon.",
    again=5,
)
STOPPED = Answer(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    title="Stopped",
    text="This deployment was stopped. It runs again when somebody starts it.",
)
ASLEEP = Answer(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    title="Asleep",
    text="This deployment sleeps, and is not woken for crawlers, link previews, monitors and"
    " whoever sends no User-Agent.",
    again=3600,
)
NOBODY = Answer(
    status=HTTPStatus.NOT_FOUND,
    title="No such deployment",
    text="There is nothing at this address.",
)
NOT_ANSWERING = Answer(
    status=HTTPStatus.BAD_GATEWAY,
    title="Not answering",
    text="This deployment does not answer at the moment. Try again soon.",
)
NOT_RUNNING = Answer(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    title="Not running",
    text="This deployment is not running at the moment. Try again soon.",
    again=5,
)
FULL = Answer(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    title="Too many visitors",
    text="Too many visitors wait for this deployment already. Try again soon.",
    again=1,
    asks=True,
)
STARTING_ANEW = Answer(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    title="Not running",
    text="This deployment cannot be woken just now. Try again soon.",
    again=2,
    asks=True,
)
MALFORMED = Answer(
    status=HTTPStatus.BAD_REQUEST,
    title="Bad request",
    text="The request cannot be read.",
)
TOO_LONG = Answer(
    status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    title="Too much to read",
    text="The head of the request is too long.",
)
TOO_SLOW = Answer(
    status=HTTPStatus.REQUEST_TIMEOUT,
    title="Too slow",
    text="The request did not come.",
)


def not_woken(reason: str, again: float | None) -> Answer:
    """Return what is said where a service cannot be had. A page asks again if that is of use."""
    return Answer(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        title="Not running",
        text=reason,
        again=again,
        asks=again is not None,
    )


def render(answer: Answer, *, page: bool, body: bool, index: bool) -> bytes:
    """Return an answer as it is sent; the connection ends with it.

    `page`: for a person. `body`: False for HEAD. `index`: whether search engines may keep it.
    """
    content = (_page(answer) if page else f"{answer.text}\n").encode()
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: text/{'html' if page else 'plain'}; charset=utf-8",
        f"Content-Length: {len(content)}",
        "Cache-Control: no-store",
        "Connection: close",
        *_when(answer),
        *([] if index else ["X-Robots-Tag: noindex"]),
        *([_policy(answer)] if page else []),
    ]
    head = "\r\n".join(lines) + "\r\n\r\n"
    return head.encode() + (content if body else b"")


def _when(answer: Answer) -> Iterator[str]:
    if answer.again is not None:
        yield f"Retry-After: {math.ceil(answer.again)}"


def _page(answer: Answer) -> str:
    title, text = html.escape(answer.title), html.escape(answer.text)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"{_asking(answer)}<title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><p>{text}</p></html>\n"
    )


def _asking(answer: Answer) -> str:
    """Return what makes a page ask again, with scripts and without."""
    if not answer.asks or answer.again is None:
        return ""
    wait = math.ceil(answer.again)
    script = f"<script>{_script(answer.again)}</script>"
    return f'{script}<noscript><meta http-equiv="refresh" content="{wait}"></noscript>'


def _script(again: float) -> str:
    return SCRIPT % (again * 1000)


def _policy(answer: Answer) -> str:
    """Return the header that lets the page do what it does, and nothing else."""
    allowed = ["default-src 'none'", f"style-src {_hash(STYLE)}"]
    if answer.asks and answer.again is not None:
        allowed.append(f"script-src {_hash(_script(answer.again))}")
    return f"Content-Security-Policy: {'; '.join(allowed)}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
