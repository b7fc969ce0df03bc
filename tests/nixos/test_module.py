"""What NixOS is told to do by `services.kennel`."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kennel import settings
from kennel.testing.missing import missing
from tests.nixos.evaluation import (
    CONFIGURATIONS,
    KENNEL,
    Nix,
    Refused,
    agreed,
    configuration,
    path,
    without_hashes,
)

CASES = {
    "example": [f"import {path('age')}"],
    "everything": [],
    "minimal": [],
    "third-party": [],
}
"""Configurations, each with what has to be there beside it."""

FILLED_IN = """
{ lib, ... }: {
  services.kennel.domains.cloudflare.zones."scottylabs.org" =
    lib.mkForce "0123456789abcdef0123456789abcdef";
}
"""
"""What the example leaves open: the id of a zone."""
NO_SECRETS = "{ lib, ... }: { services.kennel.secrets.enable = lib.mkForce false; }"


@pytest.fixture(scope="module")
def systems(nix: Nix) -> dict[str, Any]:
    """Give what becomes of every configuration."""
    names = [*CASES, "nothing"]
    evaluations = " ".join(
        f"{json.dumps(name)} = {configuration(name, CASES.get(name, []))};" for name in names
    )
    found: dict[str, Any] = nix.evaluate(
        f"builtins.mapAttrs (_: e: {{ inherit (e) failed warnings system; }}) {{ {evaluations} }}"
    )
    for one in found.values():
        assert one["failed"] == []
    return found


def system(systems: dict[str, Any], name: str) -> Any:
    return systems[name]["system"]


@pytest.mark.parametrize("name", CASES)
class TestGolden:
    def test_the_unit(self, systems: dict[str, Any], name: str) -> None:
        unit = without_hashes(system(systems, name)["units"]["kennel"])
        assert agreed(f"{name}/kennel.service", unit) == unit

    def test_kennel_toml(self, systems: dict[str, Any], name: str) -> None:
        text = system(systems, name)["toml"]
        assert agreed(f"{name}/kennel.toml", text) == text

    def test_the_caddyfile(self, systems: dict[str, Any], name: str) -> None:
        text = system(systems, name)["caddyfile"]
        assert agreed(f"{name}/Caddyfile", text) == text

    def test_the_polkit_rule(self, systems: dict[str, Any], name: str) -> None:
        polkit = system(systems, name)["polkit"]
        assert polkit["enable"] is True
        assert agreed("polkit.rules", polkit["extraConfig"]) == polkit["extraConfig"]

    def test_the_caddyfile_is_one_for_the_real_caddy(
        self, systems: dict[str, Any], name: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "Caddyfile"
        file.write_text(system(systems, name)["caddyfile"])
        caddy = KENNEL.with_name("caddy")
        done = subprocess.run(
            [caddy, "adapt", "--validate", "--adapter", "caddyfile", "--config", file],
            env={"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        admin = json.loads(done.stdout)["admin"]["listen"]
        socket = "unix//run/caddy/admin.sock|0660"
        assert admin == (socket if name == "everything" else "localhost:2019")


class TestTheUnit:
    def test_is_one_for_the_real_systemd(self, nix: Nix, tmp_path: Path) -> None:
        """systemd-analyze knows every key, and has something to say of every wrong value."""
        if shutil.which("systemd-analyze") is None:
            missing("no systemd-analyze here: install systemd")
        found = nix.evaluate(f"({configuration('everything', program=str(KENNEL))}).system.units")
        file = tmp_path / "kennel.service"
        file.write_text(found["kennel"])
        done = subprocess.run(
            ["systemd-analyze", "verify", "--recursive-errors=no", file],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if "kennel.service" in line]
        assert said == []

    def test_has_no_more_rights_than_it_needs(self, systems: dict[str, Any]) -> None:
        unit = system(systems, "everything")["units"]["kennel"].splitlines()
        for line in ("NoNewPrivileges=true", "ProtectSystem=strict", "User=kennel"):
            assert line in unit
        for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
            assert [line for line in unit if line.startswith(key)] == [f"{key}=CAP_NET_ADMIN"]
        assert not [line for line in unit if line.startswith("Delegate")]

    def test_has_no_capability_where_it_keeps_nobody_apart(self, nix: Nix) -> None:
        off = '{ services.kennel.settings.plugins.systemd.firewall = "off"; }'
        found = nix.evaluate(f"({configuration('minimal', [off])}).system.units")
        unit = found["kennel"].splitlines()
        assert [line for line in unit if "Capabilit" in line] == ["CapabilityBoundingSet="]

    def test_leaves_services_alone_when_the_system_is_switched(
        self, systems: dict[str, Any]
    ) -> None:
        for name in CASES:
            found = system(systems, name)
            assert "RuntimeDirectoryPreserve=true" in found["units"]["kennel"].splitlines()
            # Units of previews are none of NixOS': it declares the slice they are in, and no more.
            assert [*found["slices"]] == ["kennel"]
            assert not [unit for unit in found["units"] if "--" in unit]


class TestKennelToml:
    @pytest.mark.parametrize("name", ["everything", "minimal"])
    def test_is_checked_by_kennel_when_the_system_is_built(self, nix: Nix, name: str) -> None:
        built = nix.build(checked(name))
        read = settings.parse(built.read_text(), source="kennel.toml")
        assert read.state_dir == Path("/var/lib/kennel")
        assert read.supervisor == "systemd"

    def test_of_the_example_is_good(self, nix: Nix) -> None:
        assert '"<zone-id>"' in (CONFIGURATIONS / "example.nix").read_text()
        built = nix.build(checked("example", [*CASES["example"], FILLED_IN, NO_SECRETS]))
        read = settings.parse(built.read_text(), source="kennel.toml")
        assert read.domains.ephemeral == "scottylabs.net"
        assert read.domains.target == "kennel.scottylabs.org", "which is on the same machine"

    def test_of_the_examples_secrets_is_good_or_says_what_is_missing(self, nix: Nix) -> None:
        """The plugin takes what the module writes, as soon as it takes anything."""
        whole = checked("example", [*CASES["example"], FILLED_IN])
        try:
            nix.build(whole)
        except Refused as why:
            assert "has no secret source yet" in str(why)  # noqa: PT017  it may well be good

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ("web.prot = 3000", r"\[web\]: unknown key 'prot'"),
            ('plugins.garage.endpoint = "garage"', r"\[plugins.garage\]"),
            ('domains.ephemeral = "*.example.net"', r"\[domains\] ephemeral"),
            ("plugins.nothing = { }", "nothing"),
        ],
    )
    def test_that_kennel_would_refuse_does_not_build(self, nix: Nix, wrong: str, why: str) -> None:
        text = f"{{ services.kennel.settings.{wrong}; }}"
        with pytest.raises(Refused, match=why):
            nix.build(checked("everything", [text]))

    def test_what_settings_say_wins(self, systems: dict[str, Any]) -> None:
        read = settings.parse(system(systems, "everything")["toml"], source="kennel.toml")
        assert read.services.cpu_weight == 300
        assert read.services.memory_max == 2**30, "what it does not say stays"

    def test_holds_no_secret_but_where_it_is(self, systems: dict[str, Any]) -> None:
        found = system(systems, "everything")
        assert "/run/secrets" not in found["toml"]
        loaded = [line for line in found["units"]["kennel"].splitlines() if "Credential=" in line]
        references = {
            text.removeprefix("credential:")
            for text in found["toml"].split('"')
            if text.startswith("credential:")
        }
        named = {line.partition("=")[2].partition(":")[0] for line in loaded}
        assert named == references | {"webhook-secret"}

    def test_files_with_secrets_are_never_copied_into_the_store(self, nix: Nix) -> None:
        """A path of Nix's would be; texts are not."""
        found = nix.evaluate(f"({configuration('everything')}).system.units")
        for unit in found.values():
            for line in unit.splitlines():
                if "Credential=" in line or line.startswith("EnvironmentFile="):
                    assert "/nix/store" not in line


def checked(name: str, modules: list[str] | None = None) -> str:
    """Return the expression of the kennel.toml that the real `kennel check-config` has passed."""
    evaluation = configuration(
        name, modules or CASES[name], program=str(KENNEL), path="/usr/bin:/bin"
    )
    return f"({evaluation}).checked"


class TestPlugins:
    def test_are_chosen_by_what_is_enabled(self, systems: dict[str, Any]) -> None:
        assert system(systems, "minimal")["plugins"] == []
        assert sorted(system(systems, "everything")["plugins"]) == [
            "kennel-cloudflare",
            "kennel-garage",
            "kennel-openbao",
            "kennel-postgres",
            "kennel-valkey",
        ]

    def test_of_others_are_chosen_beside_them(self, systems: dict[str, Any]) -> None:
        found = system(systems, "third-party")
        assert sorted(found["plugins"]) == ["kennel-example", "kennel-postgres", "kennel-valkey"]
        assert '[plugins.example]\nfolder = "/srv/databases"' in found["toml"]
        assert "ReadWritePaths=/srv/databases" in found["units"]["kennel"].splitlines()


class TestTheSystem:
    def test_is_left_alone_where_kennel_is_off(self, systems: dict[str, Any]) -> None:
        found = system(systems, "nothing")
        assert found["units"] == {}
        assert found["polkit"] == {"enable": False, "extraConfig": ""}
        assert found["users"] == {"users": {}, "groups": {}}
        assert found["firewall"] == {"allowedTCPPorts": [], "allowedUDPPorts": []}
        assert (found["caddy"], found["etc"], found["tmpfiles"]) == (False, [], [])

    def test_is_reached_at_the_ports_of_http_alone(self, systems: dict[str, Any]) -> None:
        assert system(systems, "example")["firewall"] == {
            "allowedTCPPorts": [80, 443],
            "allowedUDPPorts": [443],
        }

    def test_has_a_cache_to_fetch_from_where_its_key_is_known(
        self, systems: dict[str, Any]
    ) -> None:
        assert system(systems, "everything")["nix"] == {
            "extra-substituters": ["https://acme.cachix.org"],
            "extra-trusted-public-keys": ["acme.cachix.org-1:AAAA"],
        }
        assert system(systems, "example")["nix"] == {}, "nobody has to be trusted"

    def test_has_a_caddy_of_its_own_where_somebody_says_so(self, nix: Nix) -> None:
        off = "{ services.kennel.caddy.enable = false; }"
        found = nix.evaluate(f"({configuration('minimal', [off])}).system")
        assert found["caddy"] is False
        assert found["firewall"]["allowedTCPPorts"] == []
        assert "caddy" not in found["units"]["kennel"]

    def test_tells_services_which_ports_are_not_for_them(self, systems: dict[str, Any]) -> None:
        read = settings.parse(system(systems, "everything")["toml"], source="kennel.toml")
        assert read.plugins["systemd"]["deny_local_ports"] == [3903, 9090]
        read = settings.parse(system(systems, "minimal")["toml"], source="kennel.toml")
        assert read.plugins["systemd"]["deny_local_ports"] == [2019]
