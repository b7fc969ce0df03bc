"""What it costs to keep services from each other's ports, beside not doing it.

    python -m benchmarks apart

In a machine of its own (a box with a network of its own), a service answers and closes, so that
every request is a new connection: to the service itself, and through Caddy. The table of nftables
is taken away and put back between rounds. `own_port_only` is measured where systemd was built to
do it.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Table, ratio
from benchmarks.scale import Scale
from kennel.builtin.caddy import CaddyRouter, Config
from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Key, Ref, Route, Secret, Tenant, Unit, Upstream, names
from kennel.plugin.settings import Host
from kennel.testing.host import NoBox, systemd_box

ROOT = Path(__file__).parents[1]
TENANT = Tenant("bench", Ref.branch("main"))
HTTP, HOST = 18080, "bench.localhost"
ROUNDS, CONNECTIONS, REQUESTS, STARTS = 5, 400, 200, 5
WITHOUT, WITH = "without", "with"
PYTHON = "/usr/bin/python3"  # services see nobody's home
BPF = "+BPF_FRAMEWORK"

ANSWER = "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"
SERVICE = f"""
import os, socket
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=1000)
while True:
    peer, _ = server.accept()
    peer.recv(65536)
    peer.sendall(b"{ANSWER}")
    peer.close()
"""
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n".encode()


def run(scale: Scale) -> dict[str, Any]:
    """Measure beside `scale.units` other services. Raises NoBox."""
    if shutil.which("nft") is None:
        raise NoBox("nftables is not installed")
    with (
        tempfile.TemporaryDirectory(prefix="kennel-bench-") as folder,
        systemd_box(Path(folder, "box"), network="private") as box,
    ):
        inside = [sys.executable, "-m", "benchmarks.apart", str(scale.units)]
        done = box.run(["env", f"PYTHONPATH={ROOT}", *inside], timeout=900)
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured


async def measure(units: int) -> dict[str, Any]:
    """Return milliseconds, with the table and without it."""
    folder = Path(tempfile.mkdtemp(dir="/var"))
    folder.chmod(0o755)
    host = Host(state_dir=folder / "state", run_dir=folder / "run", domain="localhost")
    for path in (host.state_dir, host.run_dir):
        path.mkdir()
    supervisors = {
        WITHOUT: SystemdConfig(firewall="off"),
        WITH: SystemdConfig(firewall="required"),
        "own_port_only": SystemdConfig(firewall="required", own_port_only=True),
    }
    if BPF not in _systemd():
        del supervisors["own_port_only"]
    caddy = Config(http_port=HTTP, https_port=HTTP + 1, tls="none")
    async with CaddyRouter(caddy, host) as router:
        unit = await _deployed(router, SystemdSupervisor(supervisors[WITHOUT], host), units, host)
        connections: dict[str, list[float]] = {WITHOUT: [], WITH: []}
        requests: dict[str, list[float]] = {WITHOUT: [], WITH: []}
        for _ in range(ROUNDS):
            for way in (WITHOUT, WITH):
                async with SystemdSupervisor(supervisors[way], host):
                    await asyncio.sleep(0.5)  # what follows a start is over
                    connections[way] += await asyncio.to_thread(_asked, unit.port, CONNECTIONS)
                    requests[way] += await asyncio.to_thread(_asked, HTTP, REQUESTS)
        starts = {way: await _started(config, host) for way, config in supervisors.items()}
    return {
        "units": units,
        "connection_ms": {way: _milliseconds(taken) for way, taken in connections.items()},
        "request_ms": {way: _milliseconds(taken) for way, taken in requests.items()},
        "start_ms": {way: _milliseconds(taken) for way, taken in starts.items()},
    }


def _milliseconds(taken: Sequence[float]) -> float:
    return round(1000 * median(taken), 4)


def _systemd() -> str:
    return subprocess.run(
        ["systemctl", "--version"], check=True, capture_output=True, text=True
    ).stdout


async def _deployed(
    router: CaddyRouter, supervisor: SystemdSupervisor, units: int, host: Host
) -> Unit:
    """Return the service that answers; so many others run beside it."""
    unit = _unit(host.ports[0], PYTHON, "-c", SERVICE)
    listen = {"HOST": Secret("127.0.0.1"), "PORT": Secret(str(unit.port))}
    async with supervisor:
        await supervisor.ensure(unit, listen)
        others = [_unit(port, "/bin/sleep", "3600") for port in host.ports[1 : units + 1]]
        await asyncio.gather(*(supervisor.ensure(one, {}) for one in others))
    await router.publish([Route(key=Key(TENANT, "api"), hosts=(HOST,))])
    await router.switch(TENANT, {"api": Upstream(port=host.ports[0])})
    while not await asyncio.to_thread(_answers):
        await asyncio.sleep(0.05)
    return unit


def _answers() -> bool:
    try:
        return len(_asked(HTTP, 1)) == 1
    except (OSError, RuntimeError):
        return False


def _unit(port: int, *command: str) -> Unit:
    key = Key(TENANT, f"s{port}")
    return Unit(name=names.unit(key, "0123456789ab"), key=key, command=command, port=port)


async def _started(config: SystemdConfig, host: Host) -> list[float]:
    """Return the seconds that one start after the other takes."""
    taken = []
    async with SystemdSupervisor(config, host) as supervisor:
        for number in range(STARTS):
            unit = _unit(host.ports[-1 - number], "/bin/sleep", "3600")
            before = time.perf_counter()
            await supervisor.ensure(unit, {})
            taken.append(time.perf_counter() - before)
            await supervisor.remove(unit.name)
    return taken


def _asked(port: int | None, times: int) -> list[float]:
    """Return the seconds of each of so many requests, every one over a new connection."""
    taken = []
    for _ in range(times):
        before = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port or 0), timeout=10) as connection:
            connection.sendall(REQUEST)
            answer = connection.recv(65536)
        taken.append(time.perf_counter() - before)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not answered: {answer[:100]!r}")
    return taken


def tables(figures: dict[str, Any]) -> Sequence[Table]:
    rows = [
        (title, figures[key].get(WITH), figures[key][WITHOUT])
        for key, title in (
            ("connection_ms", "a connection to a service"),
            ("request_ms", "a request through Caddy"),
            ("start_ms", "the start of a service"),
        )
    ]
    shown = [[what, one, other, ratio(one, other)] for what, one, other in rows]
    only = figures["start_ms"].get("own_port_only")
    note = (
        f"With own_port_only a start takes {only} ms."
        if only is not None
        else "own_port_only cannot be measured: this systemd was built without BPF_FRAMEWORK."
    )
    title = f"Keeping {figures['units']} services apart (medians, ms)"
    return [Table(title, ["", WITH, WITHOUT, "ratio"], shown, [note])]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
