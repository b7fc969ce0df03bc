"""What a service is told stays between it, Kennel and root."""

import random
import re

import pytest

from kennel.builtin.systemd import SystemdConfig, SystemdSupervisor
from kennel.errors import Rejected
from kennel.plugin.settings import Host
from kennel.testing.host import Box
from kennel.testing.probe import (
    ask,
    environment,
    probe,
    unit_of,
)

pytestmark = pytest.mark.host

SECRET = "correct-horse-battery-staple"


class TestSecrets:
    async def test_no_other_user_sees_one(
        self, supervisor: SystemdSupervisor, box: Box, host: Host
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
        assert (await ask(unit))["env"]["TOKEN"] == SECRET
        full = f"{unit.name}.service"
        path = "/org/freedesktop/systemd1/unit/" + re.sub(
            "[^A-Za-z0-9]", lambda c: f"_{ord(c[0]):02x}", full
        )
        public = {
            "systemctl show": ["systemctl", "show", full],
            "D-Bus": ["busctl", "introspect", "org.freedesktop.systemd1", path],
            "unit file": ["systemctl", "cat", full],
            "command lines": ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"],
            "journal": ["journalctl", "--no-pager", "-o", "export"],
            "status": ["systemctl", "status", "--no-pager", full],
        }
        for where, command in public.items():
            output = box.run(command).stdout
            assert output, where
            assert SECRET not in output, where
        assert unit.name in box.run(public["journal"]).stdout

    async def test_the_file_is_roots_alone_and_goes_with_its_unit(
        self, supervisor: SystemdSupervisor, host: Host
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
        folder = host.run_dir / "env"
        (file,) = folder.iterdir()
        assert SECRET in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
        await supervisor.remove(unit.name)
        assert list(folder.iterdir()) == []

    async def test_a_unit_that_cannot_start_leaves_no_file(
        self, supervisor: SystemdSupervisor, host: Host
    ) -> None:
        unit = unit_of("/no/such/program")
        with pytest.raises(Rejected) as refused:
            await supervisor.ensure(unit, environment(unit, {"TOKEN": SECRET}))
        assert SECRET not in str(refused.value)
        assert list((host.run_dir / "env").iterdir()) == []

    async def test_files_without_a_unit_are_cleaned_at_the_start(
        self, supervisor: SystemdSupervisor, config: SystemdConfig, host: Host
    ) -> None:
        unit = probe()
        await supervisor.ensure(unit, environment(unit))
        folder = host.run_dir / "env"
        for stale in ("kennel-shop--main--api--000000000000.env", ".draft"):
            (folder / stale).write_text("TOKEN=old")
        async with SystemdSupervisor(config, host):
            assert [path.name for path in folder.iterdir()] == [f"{unit.name}.env"]

    async def test_any_text_comes_through(self, supervisor: SystemdSupervisor) -> None:
        dice = random.Random(20)
        alphabet = "ab \t\n\r\\\\\"'`$${}%#;=\x01\x1b\x7fé日🐕"
        values = {
            f"V{number}": "".join(dice.choices(alphabet, k=dice.randrange(12)))
            for number in range(400)
        }
        unit = probe()
        await supervisor.ensure(unit, environment(unit, values))
        seen = (await ask(unit))["env"]
        assert {name: seen[name] for name in values} == values

    async def test_a_path_that_systemd_would_misread_is_refused_at_the_start(
        self, config: SystemdConfig, host: Host
    ) -> None:
        odd = Host(state_dir=host.state_dir, run_dir=host.run_dir / "a[b]")
        with pytest.raises(Rejected, match="pattern"):
            async with SystemdSupervisor(config, odd):
                pass
