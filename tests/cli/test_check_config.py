"""`kennel check-config` tells beforehand what a machine lacks."""

from pathlib import Path
from typing import Any

import pytest

LACKING = "services reach each other's ports: nftables is not installed"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('supervisor = "systemd"', True),
        ('supervisor = "systemd"\n[plugins.systemd]\nfirewall = "off"', False),
        ('supervisor = "process"', False),
    ],
)
def test_services_that_cannot_be_kept_apart(
    kennel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: bool
) -> None:
    file = tmp_path / "kennel.toml"
    file.write_text(text)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kennel.builtin.systemd.nft.SBIN", ())
    ran = kennel("check-config", str(file))
    assert ran.code == 0
    assert (LACKING in ran.out) is told


def test_nothing_is_said_where_nftables_is_installed(
    kennel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, program = tmp_path / "kennel.toml", tmp_path / "nft"
    file.write_text('supervisor = "systemd"')
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert LACKING not in kennel("check-config", str(file)).out
