"""What the daemon writes to stderr.

On a terminal a line is for people. In a pipe it is one JSON object, in the journal one logfmt
line with the priority that journald understands. Standard `logging` (which plugins use) and
structlog come out alike, with `extra={"tenant": ...}` as fields.

Redaction is by construction: a field is reduced to text, numbers and containers of these before
any renderer sees it, and on that way a `Secret` becomes `[secret]` wherever it is. A renderer is
never handed an object, so it cannot look into one. Tracebacks are shown without local variables.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import IO, Any, Literal, TypeAlias, get_args

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from kennel.domain import Secret

Format: TypeAlias = Literal["auto", "human", "json", "logfmt"]
FORMATS: tuple[str, ...] = get_args(Format)
LEVELS = ("debug", "info", "warning", "error")
REDACTED = "[secret]"
CHATTY = ("alembic", "asyncio", "httpcore", "httpx", "litestar", "sqlalchemy", "stamina", "uvicorn")
"""Libraries of whose doings only warnings are of interest."""

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Levels as sd-daemon(3) numbers them."""


def configure(
    *, level: str = "info", layout: Format = "auto", stream: IO[str] | None = None
) -> None:
    """Send every log line of this process to `stream` (stderr by default), in one format.

    `level`: one of `LEVELS`. The layout "auto" is human on a terminal, logfmt where stderr is the
    journal, and JSON anywhere else. Colours are for terminals, and not where NO_COLOR is set.
    """
    out = stream or sys.stderr
    chosen = _chosen(out) if layout == "auto" else layout
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_common()],
            processors=_last(chosen, colors=_colors(out)),
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_common(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _chosen(out: IO[str]) -> Format:
    if out.isatty():
        return "human"
    return "logfmt" if _is_journal(out) else "json"


def _is_journal(out: IO[str]) -> bool:
    """Return whether systemd connected this very stream to the journal: systemd.exec(5)."""
    try:
        status = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _colors(out: IO[str]) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR")


def _common() -> list[Processor]:
    """Return what happens to every record, structlog's or not, before it is rendered."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]


def _last(layout: Format, *, colors: bool) -> list[Processor]:
    first: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,  # to text here, so that no renderer shows locals
        redact,
    ]
    if layout == "human":
        return [*first, structlog.processors.TimeStamper("%H:%M:%S", utc=False), _human(colors)]
    if layout == "json":
        at = structlog.processors.TimeStamper("iso", utc=True)
        return [*first, at, structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [*first, _logfmt]  # the journal has its own time


def _human(colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Reduce every field to something that holds no secret and needs no looking into."""
    return {str(key): plain(value) for key, value in event.items()}


def plain(value: object) -> Any:
    """Return a value as None, bool, number, text, list or dict. A `Secret` is `[secret]`."""
    if isinstance(value, Secret):
        return REDACTED
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, AbstractSet)) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return str(value)  # of a dataclass its repr: there a Secret is `Secret()`


_FIELDS = structlog.processors.LogfmtRenderer(
    key_order=("level", "event"), drop_missing=True, bool_as_flag=False
)


def _logfmt(logger: WrappedLogger, method: str, event: EventDict) -> str:
    priority = _PRIORITIES.get(str(event.get("level")), 6)
    flat = {key: value if value is None else str(value) for key, value in event.items()}
    return f"<{priority}>{_FIELDS(logger, method, flat)}"
