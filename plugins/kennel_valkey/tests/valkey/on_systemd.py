"""Gives two tenants an instance each, on the systemd of this machine, and tells what that is like.

    python on_systemd.py FOLDER PROGRAM

Runs inside of a booted systemd, as root. Prints JSON.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kennel_valkey import kennel_provisioners

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.domain import Key, Ref, Tenant, Unit, names
from kennel.plugin import PluginSettings
from kennel.plugin.settings import Host
from kennel.testing.valkey_client import opened, url_of

ADA = Tenant("lovelace", Ref.branch("main"))
BOB = Tenant("lovelace", Ref.pull_request(42))

SERVICE = """
import json, os, socket, sys
path, login = sys.argv[1:3]
def asked(*lines):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(path)
        s.sendall("".join(line + "\\r\\n" for line in lines).encode())
        return s.recv(1000).decode()
folder = os.path.dirname(path)
try:
    listed = os.listdir(folder)
except OSError as error:
    listed = error.strerror
print(json.dumps([asked("AUTH " + login, "PING"), asked("PING"), listed]), flush=True)
"""


async def main(folder: Path, program: str) -> dict[str, Any]:
    host = Host(state_dir=folder / "state", run_dir=folder / "run")
    for one in (host.state_dir, host.run_dir):
        one.mkdir(parents=True)
    table = {"isolation": "instance", "program": program}
    (valkey,) = kennel_provisioners(PluginSettings({"valkey": table}, host))
    async with SystemdSupervisor(SystemdConfig(firewall="off"), host) as supervisor:
        valkey.use(supervisor)
        async with valkey:
            await valkey.check()
            ada, bob = [url_of(await valkey.ensure(tenant, {})) for tenant in (ADA, BOB)]
            units = sorted(await supervisor.observe())
            with opened(ada) as client:
                client.execute_command("SET", "word", "hers")
            login, _, place = ada.partition("//")[2].partition("@")
            path = place.partition("?")[0]
            account = login.replace(":", " ")
            told = {
                "its own service": await service(supervisor, "own", path, account),
                "units": units,
                "shown": shown(units, [path, account.split()[1]]),
                "memory": [of(unit, "MemoryMax") for unit in units],
                "users": [of(unit, "User") for unit in units],
                "socket": [ada.partition("@")[2] != bob.partition("@")[2], path],
            }
            for tenant in (ADA, BOB):
                await valkey.remove(tenant)
            return {
                **told,
                "left": [file.name for file in Path("/dev/shm/kennel-valkey").iterdir()],
                "units left": sorted(await supervisor.observe()),
            }


async def service(supervisor: SystemdSupervisor, name: str, *words: str) -> Any:
    """Return what a service in its sandbox gets to see."""
    key = Key(ADA, name)
    unit = Unit(
        name=names.unit(key, "0123456789ab"),
        key=key,
        command=("/usr/bin/python3", "-c", SERVICE, *words),
        port=None,
    )
    failed = await supervisor.run(unit, {}, within=20)
    lines = await supervisor.logs(unit.name, 20)
    await supervisor.remove(unit.name)
    said = [line for line in lines if line.startswith("[")]
    return json.loads(said[0]) if said else [failed, *lines]


def shown(units: Sequence[str], secrets: Sequence[str]) -> list[str]:
    """Return the secrets that anybody reads in properties of units or in lists of processes."""
    texts = [
        subprocess.run(
            ["systemctl", "show", *(f"{unit}.service" for unit in units)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout,
        *(
            file.read_text(errors="replace")
            for file in Path("/proc").glob("[0-9]*/cmdline")
            if "on_systemd" not in file.read_text(errors="replace")
        ),
    ]
    return [secret for secret in secrets if any(secret in text for text in texts)]


def of(unit: str, name: str) -> str:
    return subprocess.run(
        ["systemctl", "show", "--value", f"--property={name}", f"{unit}.service"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))))
