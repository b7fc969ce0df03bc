"""What a service may do, seen from inside."""

import json

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor, kennel_supervisors
from kennel.builtin.systemd.properties import SANDBOX
from kennel.domain import Unit
from kennel.errors import ConfigError
from kennel.plugin import PluginSettings, Supervisor
from kennel.plugin.settings import Host
from kennel.testing.host import Box
from kennel.testing.probe import (
    environment,
    eventually,
    probe,
    unit_of,
)

pytestmark = pytest.mark.host

LOOK = """
import ctypes, json, mmap, os, socket
def can(what):
    try: what(); return True
    except OSError: return False
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
libc = ctypes.CDLL(None, use_errno=True)
print(json.dumps({
    "uid": os.getuid(), "groups": os.getgroups(), "home": os.environ["HOME"], "cwd": os.getcwd(),
    "no new privileges": status["NoNewPrivs"], "capabilities": int(status["CapBnd"], 16),
    "seccomp": status["Seccomp"], "umask": status["Umask"],
    "writes to": [p for p in ("/", "/etc", "/usr", "/var/lib", "/run", "/dev/shm", "/tmp", ".")
                  if can(lambda: open(p + "/probe", "w"))],
    "sees in /home": len(os.listdir("/root")) if can(lambda: os.listdir("/root")) else None,
    "other processes": [p for p in os.listdir("/proc") if p.isdigit() and p != str(os.getpid())],
    "packet socket": can(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "netlink socket": can(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "new namespace": libc.unshare(0x10000000) == 0,
    "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0,
    "set-uid file": can(lambda: (open("/tmp/s", "w"), os.chmod("/tmp/s", 0o4755))),
    "just in time code": can(lambda: mmap.mmap(-1, 4096, prot=7)),
    "devices": sorted(set(os.listdir("/dev")) & {"kmsg", "mem", "kvm", "sda", "null", "urandom"}),
    "memory is told": can(lambda: open("/proc/meminfo")),
    "kernel settings": can(lambda: open("/proc/sys/vm/swappiness", "w")),
}), flush=True)
"""


class TestSandbox:
    async def test_a_service_may_do_its_work_and_nothing_else(
        self, supervisor: SystemdSupervisor
    ) -> None:
        unit = unit_of("/usr/bin/python3", "-c", LOOK + "import time; time.sleep(60)")
        await supervisor.ensure(unit, environment(unit))
        seen = json.loads(await first_line(supervisor, unit))
        assert seen.pop("uid") >= 61184  # one of the dynamic users
        assert len(seen.pop("groups")) <= 1
        assert seen == {
            "home": "/tmp",
            "cwd": "/tmp",
            "no new privileges": "1",
            "capabilities": 0,
            "seccomp": "2",
            "umask": "0077",
            "writes to": ["/dev/shm", "/tmp", "."],
            "sees in /home": None,
            "other processes": [],
            "packet socket": False,
            "netlink socket": True,
            "new namespace": False,
            "mount": False,
            "set-uid file": False,
            "just in time code": True,
            "devices": ["null", "urandom"],
            "memory is told": True,
            "kernel settings": False,
        }

    async def test_two_services_are_two_users(self, supervisor: SystemdSupervisor) -> None:
        tell = "import os, time; print(os.getuid(), flush=True); time.sleep(60)"
        units = [unit_of("/usr/bin/python3", "-c", tell, name=name) for name in ("api", "worker")]
        for unit in units:
            await supervisor.ensure(unit, environment(unit))
        users = [await first_line(supervisor, unit) for unit in units]
        assert users[0] != users[1]

    async def test_its_temporary_files_are_its_own_and_go_with_it(
        self, supervisor: SystemdSupervisor, box: Box
    ) -> None:
        write = "open('mine', 'w'); import time; time.sleep(60)"
        unit = unit_of("/usr/bin/python3", "-c", write)
        await supervisor.ensure(unit, environment(unit))
        find = ["sh", "-c", f"ls -d /tmp/systemd-private-*-{unit.name}.service-* 2>/dev/null"]
        assert box.run(find, check=False).stdout
        assert box.run(["test", "-e", "/tmp/mine"], check=False).returncode == 1
        await supervisor.remove(unit.name)
        assert not box.run(find, check=False).stdout

    async def test_the_operator_may_relax_it_by_name(
        self, config: SystemdConfig, host: Host, box: Box
    ) -> None:
        relaxed = PluginSettings(
            {"systemd": {"bus": config.bus, "relax": ["ProtectHome", "SystemCallFilter"]}}, host
        )
        (supervisor,) = kennel_supervisors(relaxed)
        unit = probe()
        async with supervisor:
            await supervisor.ensure(unit, environment(unit))
            seen = box.show(unit.name, "ProtectHome", "SystemCallFilter", "ProtectSystem")
            await supervisor.remove(unit.name)
        # DynamicUser= keeps homes read-only all the same; "~" forbids nothing.
        assert seen == {
            "ProtectHome": "read-only",
            "SystemCallFilter": "~",
            "ProtectSystem": "strict",
        }

    def test_what_cannot_be_relaxed_is_refused_by_name(self, host: Host) -> None:
        for wrong in ("DynamicUser", "NoNewPrivileges", "ProtectHomes"):
            with pytest.raises(ConfigError, match="relax"):
                list(kennel_supervisors(PluginSettings({"systemd": {"relax": [wrong]}}, host)))

    def test_every_part_of_it_may_be_relaxed(self, host: Host) -> None:
        settings = PluginSettings({"systemd": {"relax": sorted(SANDBOX)}}, host)
        assert len(list(kennel_supervisors(settings))) == 1

    def test_is_off_without_its_table(self, host: Host) -> None:
        assert list(kennel_supervisors(PluginSettings({}, host))) == []


async def first_line(supervisor: Supervisor, unit: Unit) -> str:
    async def written() -> bool:
        return any(line[0] in "{0123456789" for line in await supervisor.logs(unit.name, 50))

    await eventually(written)
    lines = await supervisor.logs(unit.name, 50)
    return next(line for line in lines if line[0] in "{0123456789")
