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

  all = rec {
    inherit lib;
    stdenv.hostPlatform = { inherit system; };

    callPackage = function: given: function (builtins.intersectAttrs (builtins.functionArgs function) all // given);

    runCommand = name: environment: script:
      derivation
        (removeAttrs environment [ "meta" "passthru" ] // {
          inherit name system;
          builder = "/bin/sh";
          args = [ "-e" "-c" script ];
          PATH = path;
        }) // { inherit script; meta = environment.meta or { }; } // environment.passthru or { };
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
    busybox = named "busybox" { };
    curl = named "curl" { };
    dbus = named "dbus" { };
    duktape = named "duktape" { meta.mainProgram = "duk"; };
    iproute2 = named "iproute2" { meta.mainProgram = "ip"; };
    nixpkgs-fmt = named "nixpkgs-fmt" { };
    python3 = named "python3" { };
    python313 = named "python3" { version = "3.13.7"; };
    ruff = named "ruff" { };
    uv = named "uv" { };

    mkShellNoCC = { packages ? [ ], env ? { } }: runCommand "shell" { passthru = { inherit packages env; }; } "touch $out";
    writeShellScriptBin = name: text: runCommand name { inherit text; meta.mainProgram = name; } ''
      mkdir -p $out/bin
      printf '#!/bin/sh\n%s' "$text" > $out/bin/${name}
      chmod +x $out/bin/${name}
    '' // { inherit text; };
    testers.runNixOSTest = import ./story.nix { inherit lib; pkgs = all; };
  };
in
all
