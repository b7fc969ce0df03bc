"""A Garage that lives as long as a test session: one node, on ports of its own."""

import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kennel.testing.missing import missing
from kennel.testing.probe import free_port

VERSION = "2.3.0"
CAPACITY = 1 << 30
STARTS_WITHIN = 30.0
REGION = "garage"


@dataclass(frozen=True, slots=True, kw_only=True)
class GarageServer:
    """A Garage that runs. `admin`, `s3`: the URLs of its two APIs; `web`: of its public sites.

    `config`: the file that its own commands read.
    """

    admin: str
    s3: str
    web: str
    token: str
    config: Path

    def ask(self, call: str, body: object = None, **query: str) -> Any:
        """Call version 2 of the admin API. Return what it answers; None where it says no."""
        with httpx.Client(base_url=self.admin, trust_env=False, timeout=30) as client:
            answer = client.request(
                "GET" if body is None else "POST",
                f"/v2/{call}",
                params=query,
                json=body,
                headers={"Authorization": f"Bearer {self.token}"},
            )
        return answer.json() if answer.is_success else None


def find() -> Path:
    """Return the program; skip, or fail where everything is required, if there is none.

    One that `scripts/install-garage` is building is waited for.
    """
    if found := shutil.which("garage"):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "kennel" / f"garage-{VERSION}"
    lock = place.with_name(f"{place.name}.lock")
    if lock.exists():
        with lock.open() as held:
            fcntl.flock(held, fcntl.LOCK_SH)
    if not (program := place / "bin" / "garage").is_file():
        missing("no garage here: run scripts/install-garage, or put one on PATH")
    return program


@contextmanager
def garage_server() -> Iterator[GarageServer]:
    """Start a server with nothing in it; stop it in the end and remove all it kept."""
    program = find()
    base = Path(tempfile.mkdtemp(prefix="kennel-garage-"))
    rpc, s3, web, admin = (free_port() for _ in range(4))
    token = secrets.token_hex(16)
    config = base / "garage.toml"
    config.write_text(_config(base, rpc=rpc, s3=s3, web=web, admin=admin, token=token))
    config.chmod(0o600)
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-c", config, "server"], stdout=log, stderr=log, env=_environment()
        )
    server = GarageServer(
        admin=f"http://127.0.0.1:{admin}",
        s3=f"http://127.0.0.1:{s3}",
        web=f"http://127.0.0.1:{web}",
        token=token,
        config=config,
    )
    try:
        _lay_out(server, process, base / "log")
        yield server
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(base, ignore_errors=True)


def _config(base: Path, *, rpc: int, s3: int, web: int, admin: int, token: str) -> str:
    return f"""\
metadata_dir = "{base}/meta"
data_dir = "{base}/data"
db_engine = "sqlite"
metadata_fsync = false
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{secrets.token_hex(32)}"

[s3_api]
s3_region = "{REGION}"
api_bind_addr = "127.0.0.1:{s3}"

[s3_web]
bind_addr = "127.0.0.1:{web}"
root_domain = ".web.localhost"

[admin]
api_bind_addr = "127.0.0.1:{admin}"
admin_token = "{token}"
"""


def _environment() -> Mapping[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("GARAGE_")}


def _lay_out(server: GarageServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it answers, and give its one node everything to keep."""
    deadline = time.monotonic() + STARTS_WITHIN
    while not _answers(server):
        if process.poll() is not None or time.monotonic() > deadline:
            missing(f"garage does not start: {log.read_text()[-500:]}")
        time.sleep(0.05)
    [node] = server.ask("GetClusterStatus")["nodes"]
    role = {"id": node["id"], "zone": "here", "capacity": CAPACITY, "tags": []}
    server.ask("UpdateClusterLayout", {"roles": [role]})
    server.ask("ApplyClusterLayout", {"version": 1})
    while server.ask("ListBuckets") is None:
        time.sleep(0.05)


def _answers(server: GarageServer) -> bool:
    try:
        return server.ask("GetClusterStatus") is not None
    except httpx.TransportError:
        return False
