"""Nix's internal-json log, made into lines that people read.

The format is that of Nix's src/libutil/logging.cc. Every line starts with `@nix `; `start` opens
an activity, `result` says something of it, `stop` ends it.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kennel.build.lines import plain

PREFIX = "@nix "
TAIL = 20
"""Lines of a derivation's log that an error quotes."""

FILE_TRANSFER, BUILDS, BUILD, SUBSTITUTE, FETCH_TREE = 101, 104, 105, 108, 112
LOG_LINE, SET_PHASE, PROGRESS = 101, 104, 105
ERROR, NOTICE = 0, 2
HASH = re.compile(r"^[0-9a-df-np-sv-z]{32}-")


class Message(msgspec.Struct):
    """A line of the log. Fields that are not here, and numbers not known, are left alone."""

    action: str
    id: int = 0
    type: int = 0
    level: int = 3
    text: str = ""
    msg: str = ""
    fields: list[Any] = []


@dataclass(slots=True)
class Derivation:
    """A derivation that is being built. `name`: for people. `tail`: the end of its log."""

    path: str
    name: str
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))


class Progress:
    """Reads the log of one command.

    `names`: what derivations are called, by path; others are called by their own names. `told`:
    the last trace that began with `mark`, without it.
    """

    def __init__(self, mark: str = "", names: Mapping[str, str] | None = None) -> None:
        self.names = names or {}
        self.told: str | None = None
        self.errors: list[str] = []
        self._mark = f"trace: {mark} " if mark else None
        self._decoder = msgspec.json.Decoder(Message)
        self._running: dict[int, Derivation] = {}
        self._kinds: dict[int, int] = {}
        self._tails: dict[str, Derivation] = {}
        self._said: deque[str] = deque(maxlen=5)
        self._started = 0
        self._expected = 0

    def read(self, lines: Iterable[str]) -> list[str]:
        """Return what to show of some more lines."""
        return [text for line in lines for text in self._read(line)]

    def _read(self, line: str) -> Iterator[str]:
        if not line.startswith(PREFIX):
            if line.strip():
                self._said.append(plain(line).strip())
                yield line
            return
        try:
            message = self._decoder.decode(line.removeprefix(PREFIX))
        except msgspec.DecodeError:  # of a newer Nix: not worth a build
            return
        if message.action == "msg":
            yield from self._message(message)
        elif message.action == "start":
            yield from self._start(message)
        elif message.action == "result":
            yield from self._result(message)
        elif message.action == "stop":
            self._running.pop(message.id, None)
            self._kinds.pop(message.id, None)

    def _message(self, message: Message) -> Iterator[str]:
        if self._mark is not None and message.msg.startswith(self._mark):
            self.told = message.msg.removeprefix(self._mark)
            return
        text = tidy(message.msg)
        if message.level == ERROR and text and not text.startswith("trace: "):
            self.errors.append(text)
        if message.level <= NOTICE:
            yield from text.splitlines()

    def _start(self, message: Message) -> Iterator[str]:
        self._kinds[message.id] = message.type
        path = _text(message.fields, 0)
        if message.type == BUILD:
            derivation = Derivation(path, self.names.get(path) or name_of(path))
            self._running[message.id] = self._tails[path] = derivation
            self._started += 1
            total = max(self._started, self._expected)
            yield f"building {self._started}/{total}: {derivation.name}"
        elif message.type == SUBSTITUTE:
            yield f"fetching {name_of(path)} from {_text(message.fields, 1)}"
        elif message.type in {FILE_TRANSFER, FETCH_TREE} and message.text:
            yield plain(message.text)

    def _result(self, message: Message) -> Iterator[str]:
        if message.type == PROGRESS and self._kinds.get(message.id) == BUILDS:
            self._expected = max(self._expected, _number(message.fields, 1))
            return
        derivation = self._running.get(message.id)
        if derivation is None:
            return
        text = plain(_text(message.fields, 0))
        if message.type == LOG_LINE:
            derivation.tail.append(text)
            yield f"[{derivation.name}] {text}"
        elif message.type == SET_PHASE:
            yield f"[{derivation.name}] phase: {text}"

    def failure(self) -> str:
        """Return what went wrong, with the last log lines of the derivations that failed."""
        said = dict.fromkeys(self.errors or self._said)
        if blamed := [text for text in said if not text.startswith("warning: ")]:
            said = dict.fromkeys(blamed)
        text = "\n".join(said) or "Nix failed without a word"
        failed = [d for path, d in self._tails.items() if d.tail and f"'{path}'" in text]
        quoted = [_quoted(derivation) for derivation in failed]
        return "\n".join([_short(text), *quoted])


def _quoted(derivation: Derivation) -> str:
    return "\n".join(
        [f"the last lines of {derivation.name}:", *(f"  {line}" for line in derivation.tail)]
    )


def _text(fields: Sequence[Any], place: int) -> str:
    return str(fields[place]) if place < len(fields) else ""


def _number(fields: Sequence[Any], place: int) -> int:
    value = fields[place] if place < len(fields) else 0
    return value if isinstance(value, int) else 0


def name_of(path: str) -> str:
    """Return the name in a store path: `/nix/store/HASH-curl-8.1.drv` → `curl-8.1`."""
    return HASH.sub("", path.rpartition("/")[2]).removesuffix(".drv")


SOURCE = re.compile(r"(?:/[\w.+-]+)+/[0-9a-df-np-sv-z]{32}-source/")
NOISE = re.compile(
    r"\(use '--show-trace'.*\)|.*For full logs, run.*|.*[Ll]ast \d+ log lines:.*|\s*> .*"
)


def tidy(message: str) -> str:
    """Return a message of Nix without colours, hints at its options and paths of copies."""
    lines = plain_lines(message)
    kept = [line.rstrip() for line in lines if not NOISE.fullmatch(line.strip())]
    text = SOURCE.sub("", "\n".join(kept).strip())
    return re.sub(r"\n{2,}", "\n", text).removeprefix("error:").strip()


def plain_lines(message: str) -> list[str]:
    """Return the lines of a text, without words to a terminal."""
    return [plain(line) for line in message.splitlines()]


def _short(text: str, most: int = 8000) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}\n…\n{text[-most // 2 :]}"
