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


ELSEWHERE = """
supervisor = "systemd"
webhook_secret_file = "/run/credentials/kennel.service/webhook-secret"
domains.target = "edge.example.net"

[plugins.postgres]
url = "env:KENNEL_TEST_NOWHERE"

[plugins.valkey]
url = "env:KENNEL_TEST_NOWHERE"

[plugins.garage]
admin_token = "credential:nowhere"

[plugins.cloudflare]
token = "file:/nowhere"
zones = ["example.org"]

[projects.shop]
url = "https://git.example.net/acme/shop.git"
token = "file:/nowhere"
"""


def test_a_file_for_another_machine_needs_nothing_of_it(
    kennel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kennel.toml"
    file.write_text(ELSEWHERE)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kennel.builtin.systemd.nft.SBIN", ())
    ran = kennel("check-config", "--elsewhere", str(file))
    assert ran.err == ""
    assert ran.code == 0
    assert "warning" not in ran.out
    assert kennel("check-config", str(file)).code != 0, "here it is looked for"


def test_a_file_for_another_machine_is_checked_all_the_same(kennel: Any, tmp_path: Path) -> None:
    file = tmp_path / "kennel.toml"
    file.write_text(ELSEWHERE.replace("zones", "zone"))
    ran = kennel("check-config", "--elsewhere", str(file))
    assert ran.code != 0
    assert "[plugins.cloudflare]: unknown key 'zone'" in ran.err or "'zones' is missing" in ran.err
