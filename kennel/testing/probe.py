"""A service that tells what it sees, and how to talk to it."""

import asyncio
import contextlib
import itertools
import json
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kennel.domain import Env, Key, Limits, Ref, Secret, Tenant, Unit, UnitState, names
from kennel.plugin import Supervisor

AWKWARD = {
    "EMPTY": "",
    "SPACES": "  two before, two after  ",
    "QUOTES": """it's "quoted" and `run`""",
    "DOLLARS": "$HOME ${HOME} $$ $(id)",
    "PERCENT": "%n %h %% 100%",
    "BACKSLASHES": r"C:\temp\new\ and at the end \ ".rstrip(),
    "LINES": "one\ntwo\r\nthree\n\n",
    "COMMENT": "# no comment; nor = this",
    "CONTROL": "\t\x01\x1b[31m\x7f",
    "UNICODE": "grüß 日本 🐕",
    "KEY": "-----BEGIN KEY-----\nab/+==\n-----END KEY-----\n",
    "LONG": "x" * 100_000,
    "lower_case": "too",
}
"""Values that careless quoting breaks."""

LITERAL = ("$HOME", "${PORT}", "$$", "%n", "%%", "a b", "", "'", '"', "\\", "\\x41", "*", "~", ";")
"""Arguments that a shell, or systemd, would change."""


PROBE = """
import json, os, signal, socket, sys
def writes(folder):
    try:
        with open(os.path.join(folder, "probe"), "w") as file: file.write("x")
        return True
    except OSError: return False
mode = sys.argv[1]
print("probe: " + mode, flush=True)
if mode == "fails": sys.exit(3)
if mode == "ends": sys.exit(0)
if mode == "stubborn": signal.signal(signal.SIGTERM, signal.SIG_IGN)
while "PORT" not in os.environ: signal.pause()
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
if mode == "family":
    for apart in (False, True):
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if apart: os.setpgid(0, 0)
            break
while True:
    peer = server.accept()[0]
    with peer, peer.makefile("rw") as stream:
        word, _, rest = stream.readline().strip().partition(" ")
        if word == "exit": os._exit(int(rest))
        if word == "kill": os.kill(os.getpid(), int(rest))
        if word == "say": print(rest, flush=True)
        seen = {"run": os.getpid(), "env": dict(os.environ), "args": sys.argv[2:],
                "writes": [writes(os.environ["HOME"]), writes(".")]}
        stream.write(json.dumps(seen) + "\\n")
"""
"""A service that answers, on its port, a line with what it sees. Without PORT it only runs."""

PATIENCE = 15.0
"""Seconds that anything may take before a test fails."""


PORTS = range(10_000, 20_000)
"""For servers of tests: below those of services, and of the kernel's for outgoing connections."""
_upwards = itertools.cycle(random.sample(PORTS, len(PORTS)))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that was not returned just now."""
    for port in _upwards:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a cycle has no end")


def unit_of(
    *command: str,
    name: str = "api",
    limits: Limits | None = None,
    fields: Mapping[str, str] | None = None,
) -> Unit:
    """Return a unit, new in name and port, that runs a command. `name`: of its service."""
    key = Key(Tenant("contract", Ref.branch("feature/x")), name)
    return Unit(
        name=names.unit(key, secrets.token_hex(6)),
        key=key,
        command=command,
        port=free_port(),
        limits=limits or Limits(),
        fields=fields or {},
    )


def probe(
    mode: str = "serves",
    *,
    name: str = "api",
    python: str = "/usr/bin/python3",
    limits: Limits | None = None,
    fields: Mapping[str, str] | None = None,
) -> Unit:
    """Return a unit that runs `PROBE`.

    `mode`: "serves"; "fails", and exits with status 3; "ends", and exits with status 0; "stubborn",
    and is deaf to SIGTERM; or "family", and has two more processes that are, one in another group.
    """
    return unit_of(python, "-c", PROBE, mode, name=name, limits=limits, fields=fields)


async def ask(unit: Unit, line: str = "look", *, within: float | None = None) -> dict[str, Any]:
    """Send a line to a unit that runs `PROBE` and return its answer, as soon as it answers.

    "look" answers with its `run` (another one after every start), `env` and `args`, and whether it
    `writes` to its home and working directory; "say TEXT" makes it write that to its output.
    """
    async with asyncio.timeout(within or PATIENCE):
        while True:
            try:
                seen: dict[str, Any] = json.loads(await _exchange(unit, line))
            except (OSError, ValueError):
                await asyncio.sleep(0.02)
            else:
                return seen


async def make_end(unit: Unit, line: str) -> None:
    """Send a line to a unit that ends it, such as "exit 3" or "kill 9"."""
    await _exchange(unit, line)


async def answers(unit: Unit) -> bool:
    """Return whether anybody listens on the unit's port."""
    try:
        await _exchange(unit, "")
    except ConnectionRefusedError:
        return False
    return True


async def _exchange(unit: Unit, line: str) -> bytes:
    """Send a line and return all that comes back, be it nothing because the unit has ended."""
    reader, writer = await asyncio.open_connection(unit.address, unit.port)
    try:
        writer.write(f"{line}\n".encode())
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def eventually(
    question: Callable[[], Awaitable[object]], *, within: float | None = None
) -> None:
    """Wait until the answer is true; fail if it is not in time."""
    async with asyncio.timeout(within or PATIENCE):
        while not await question():  # noqa: ASYNC110  what is asked sets no event
            await asyncio.sleep(0.02)


def environment(unit: Unit, more: Mapping[str, str] | None = None) -> Env:
    """Return what a unit is given: where to listen, if anywhere, and more."""
    listen = {} if unit.port is None else {"PORT": str(unit.port), "HOST": unit.address}
    return {name: Secret(value) for name, value in {**listen, **(more or {})}.items()}


async def has_state(supervisor: Supervisor, unit: Unit, state: UnitState) -> bool:
    """Return whether a unit is observed in a state."""
    status = (await supervisor.observe()).get(unit.name)
    return status is not None and status.state is state


async def has_reason(supervisor: Supervisor, unit: Unit, reason: str) -> bool:
    """Return whether a unit is observed with a reason."""
    status = (await supervisor.observe()).get(unit.name)
    return status is not None and status.reason == reason
