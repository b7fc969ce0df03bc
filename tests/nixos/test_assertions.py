"""What cannot work together is refused, with what to write instead."""

import json

import pytest

from tests.nixos.evaluation import Nix, Refused, configuration

KENNEL = "services.kennel"

ASSERTED = [
    (
        "everything",
        'systemd.package = lib.mkForce (pkgs.systemd // { version = "256.4"; })',
        "Use NixOS 25.05 or newer",
    ),
    (
        "everything",
        'services.caddy.package = lib.mkForce (pkgs.caddy // { version = "2.7.6"; })',
        "services.caddy.package is 2.7.6. Set it to a newer one",
    ),
    (
        "everything",
        "services.caddy.settings.apps = { }",
        "Say the same with\nservices.caddy.virtualHosts",
    ),
    (
        "everything",
        f'{KENNEL}.caddy.adminUrl = lib.mkForce "localhost:2019"',
        'Write\n"http://localhost:2019" or "unix//run/caddy/admin.sock"',
    ),
    (
        "everything",
        f'{KENNEL}.caddy.adminUrl = lib.mkForce "unix//srv/caddy.sock"',
        '"unix//run/caddy/admin.sock", so that it is made',
    ),
    (
        "everything",
        f'{KENNEL}.package = lib.mkForce {{ type = "derivation"; name = "k"; outPath = "/k"; }}',
        "Use kennel.packages.SYSTEM.kennel",
    ),
    (
        "minimal",
        f'{KENNEL}.domains.cloudflare.zones."example.org" = "x"',
        f"Set\n{KENNEL}.domains.cloudflare.tokenFile, or {KENNEL}.environmentFile",
    ),
    ("minimal", f"{KENNEL}.secrets.enable = true", f"set {KENNEL}.environmentFile to a file with"),
    (
        "everything",
        f"{KENNEL}.builder.cachix.cacheName = lib.mkForce null",
        f"set {KENNEL}.builder.cachix.cacheName",
    ),
    (
        "minimal",
        f'{KENNEL}.builder.cachix = {{ enable = true; cacheName = "acme"; }}',
        f"Set {KENNEL}.builder.cachix.tokenFile",
    ),
    (
        "minimal",
        f"{KENNEL}.resources.garage.enable = true",
        f"Set\n{KENNEL}.resources.garage.adminTokenFile, or {KENNEL}.environmentFile",
    ),
    (
        "everything",
        f"{KENNEL}.resources.garage.server.rpcSecretFile = lib.mkForce null",
        f"{KENNEL}.resources.garage.server.rpcSecretFile",
    ),
    (
        "minimal",
        f'{KENNEL}.resources.postgres = {{ enable = true; socketDir = "/srv/pg"; }}',
        f"set {KENNEL}.resources.postgres.createLocally = false",
    ),
    (
        "minimal",
        f'{KENNEL}.resources.valkey = {{ enable = true; socketPath = "/srv/valkey.sock"; }}',
        'such as "/run/valkey/valkey.sock"',
    ),
    (
        "minimal",
        f"{KENNEL}.resources.valkey = {{ enable = true; createLocally = false; }}",
        f"set\n{KENNEL}.resources.valkey.passwordFile",
    ),
    ("minimal", f"{KENNEL}.projects.My_Shop = {{ }}", "such as shop. Rename it"),
    (
        "everything",
        f'{KENNEL}.projects.shop.sshKeyFile = "/run/key"',
        "leave the\nother out",
    ),
]


@pytest.mark.parametrize(("name", "wrong", "fix"), ASSERTED, ids=[one[1] for one in ASSERTED])
def test_it_says_what_to_write(nix: Nix, name: str, wrong: str, fix: str) -> None:
    module = f"{{ lib, pkgs, ... }}: {{ {wrong}; }}"
    [message] = nix.evaluate(f"({configuration(name, [module])}).failed")
    assert fix in message


RENAMED = [
    ("garage.capacity", '"5G"', "resources.garage.server.capacity", "--capacity 5G"),
    ("valkey.passwordFile", '"/run/p"', "resources.valkey.passwordFile", "password:/run/p"),
    ("valkey.isolation", '"instance"', "resources.valkey.isolation", "bin/valkey-server"),
]


@pytest.mark.parametrize(("old", "value", "new", "line"), RENAMED, ids=[one[0] for one in RENAMED])
def test_an_old_name_still_works_and_says_the_new_one(
    nix: Nix, old: str, value: str, new: str, line: str
) -> None:
    module = f"{{ {KENNEL}.{old} = {value}; }}"
    found = nix.evaluate(
        f"let e = {configuration('everything', [module])}; in"
        " { inherit (e) failed warnings; inherit (e.system) toml units scripts; }"
    )
    assert found["failed"] == []
    assert found["warnings"] == [
        f"The option `{KENNEL}.{old}' has been renamed to `{KENNEL}.{new}'."
    ]
    assert line in json.dumps(found)


REMOVED = [
    ("forgejo.apiUrl", f"{KENNEL}.settings.plugins.forgejo.api_url"),
    ("garage.maxSize", f"{KENNEL}.settings.plugins.garage.max_size"),
    ("valkey.aclFile", f"{KENNEL}.resources.valkey.passwordFile"),
    ("forgejo.apiTokenFile", f"{KENNEL}.projects.NAME.tokenFile"),
    ("domains.cloudflare.tunnelId", f'{KENNEL}.domains.target = "ID.cfargotunnel.com"'),
    ("customDomainsFile", "kennel status --json"),
    ("grafanaUrl", "kennel logs"),
    ("user", "Kennel runs as the user kennel"),
    ("group", "Kennel runs as the group kennel"),
]


@pytest.mark.parametrize(("old", "instead"), REMOVED)
def test_an_option_that_is_gone_says_what_to_do(nix: Nix, old: str, instead: str) -> None:
    module = f'{{ {KENNEL}.{old} = "x"; }}'
    [message] = nix.evaluate(f"({configuration('minimal', [module])}).failed")
    assert f"`{KENNEL}.{old}' no longer has any effect" in message
    assert instead in message


def test_an_option_that_never_was_is_refused(nix: Nix) -> None:
    module = f"{{ {KENNEL}.domians = {{ }}; }}"
    with pytest.raises(Refused, match=r"The option `services\.kennel\.domians' does not exist"):
        nix.evaluate(f"({configuration('minimal', [module])}).failed")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("api.port = 70000", "16 bit unsigned integer"),
        ('limits.memoryMax = "lots"', r"\[KMGT\]"),
        ('webhookSecretFile = "secret"', "absolute path"),
        ("finalPackage = pkgs.git", "read-only"),
    ],
)
def test_a_value_of_another_type_is_refused(nix: Nix, wrong: str, why: str) -> None:
    module = f"{{ pkgs, ... }}: {{ {KENNEL}.{wrong}; }}"
    name = "minimal" if "Secret" not in wrong else "nothing"
    enabled = f"{{ {KENNEL}.enable = true; }}"
    with pytest.raises(Refused, match=why):
        nix.evaluate(
            f"with ({configuration(name, [module, enabled])}).evaluation.config.{KENNEL};"
            ' [ api.port limits.memoryMax webhookSecretFile "${finalPackage}" ]'
        )
