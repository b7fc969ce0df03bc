# Stands in for NixOS' test driver: machines are evaluated, and nothing is run. The result has the text of the script.
{ lib, pkgs }:
module:
let
  inherit (lib) mkOption types;
  evaluation = lib.evalModules {
    modules = [
      module
      {
        options = {
          name = mkOption { type = types.str; };
          defaults = mkOption { type = types.raw; default = { }; };
          nodes = mkOption { type = types.lazyAttrsOf types.raw; };
          testScript = mkOption { type = types.str; };
        };
      }
    ];
  };
  cfg = evaluation.config;
  machine = _: node:
    let
      inherit (lib.evalModules { modules = [ ./host.nix cfg.defaults node ]; specialArgs = { inherit pkgs; }; }) config;
      failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
    in
    if failed != [ ] then throw (toString failed) else {
      toml = import ./toml.nix { inherit lib; } config.services.kennel.settings;
      scripts = builtins.mapAttrs (_: service: service.script) config.systemd.services;
      kennel = config.services.kennel.configFile;
    };
  machines = builtins.mapAttrs machine cfg.nodes;
in
pkgs.runCommand cfg.name
{
  # Every unit of every machine is evaluated with it.
  evaluated = builtins.toJSON machines;
  passthru = { inherit machines; inherit (cfg) testScript; };
} "touch $out"
