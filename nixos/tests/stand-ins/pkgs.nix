# Packages, for machines without nixpkgs. Most have nothing but a path; what is made with runCommand and its like
# really builds, with the programs of this machine.
#
# system: as Nix calls it. path: where builders find programs.
{ lib, system ? "x86_64-linux", path ? "/usr/bin:/bin" }:
let
  named = name: attributes: {
    type = "derivation";
    inherit name;
    pname = name;
    version = "1.0";
    outPath = "/pkgs/${name}";
    meta.mainProgram = name;
    __toString = self: self.outPath;
  } // attributes;

  inherit (lib) types;
  tomlValue = types.oneOf (with types; [ bool int float str types.path (attrsOf tomlValue) (listOf tomlValue) ]) // { name = "TOML value"; };
in
rec {
  inherit lib;
  stdenv.hostPlatform = { inherit system; };

  runCommand = name: environment: script:
    derivation (environment // {
      inherit name system;
      builder = "/bin/sh";
      args = [ "-e" "-c" script ];
      PATH = path;
    }) // { inherit script; };
  writeText = name: text: runCommand name { inherit text; } ''printf %s "$text" > $out'' // { inherit text; };
  writeShellScript = name: text: runCommand name { inherit text; } ''
    printf '#!/bin/sh\n%s' "$text" > $out
    chmod +x $out
  '' // { inherit text; };

  formats = {
    toml = _: {
      type = lib.types.attrsOf tomlValue;
      generate = name: value: writeText name (import ./toml.nix { inherit lib; } value);
    };
    json = _: {
      type = lib.types.anything;
      generate = name: value: writeText name (builtins.toJSON value);
    };
  };

  git = named "git" { };
  nftables = named "nftables" { meta.mainProgram = "nft"; };
  openssh = named "openssh" { };
  util-linux = named "util-linux" { };
  cachix = named "cachix" { };
  devenv = named "devenv" { };
  nix = named "nix" { };
  systemd = named "systemd" { version = "258.3"; };
  caddy = named "caddy" { version = "2.11.1"; };
  valkey = named "valkey" { meta.mainProgram = "valkey-server"; };
  garage_2 = named "garage" { version = "2.3.0"; };
  postgresql = named "postgresql" { version = "17.6"; };
  postgresql_18 = named "postgresql" { version = "18.0"; };
  crate2nix = named "crate2nix" { };
  openbao = named "openbao" { meta.mainProgram = "bao"; };
  openssl = named "openssl" { };
  oxfmt = named "oxfmt" { };
  oxlint = named "oxlint" { };
  pkg-config = named "pkg-config" { };
  rust = named "rust" { };
  secretspec = named "secretspec" { };
  sqlite = named "sqlite" { };
}
