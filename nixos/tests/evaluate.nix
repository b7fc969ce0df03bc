# Evaluates configurations of NixOS with Kennel's module, on machines without nixpkgs.
#
# configuration: a module. program: what `kennel` is; path: where builders find programs. Returns what there is to see
# of the system: nothing where an assertion does not hold but the messages.
{ configuration, program ? "/pkgs/kennel/bin/kennel", path ? "/usr/bin:/bin", modules ? [ ] }:
let
  lib = import ./stand-ins/lib;
  pkgs = import ./stand-ins/pkgs.nix { inherit lib path; };
  kennel = {
    nixosModules.default = ../module.nix;
    packages.x86_64-linux = {
      kennel = import ./stand-ins/kennel.nix { inherit program; };
      inherit (pkgs) devenv;
    };
  };
  evaluation = lib.evalModules {
    modules = [ ./stand-ins/host.nix configuration ] ++ modules;
    specialArgs = { inherit pkgs kennel; };
  };
  inherit (evaluation) config;
  cfg = config.services.kennel;
  failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
in
{
  inherit failed lib pkgs evaluation;
  inherit (config) warnings;
  system = if failed != [ ] then null else {
    toml = import ./stand-ins/toml.nix { inherit lib; } cfg.settings;
    plugins = if cfg.enable then map (plugin: plugin.name) cfg.finalPackage.plugins else [ ];
    units = builtins.mapAttrs (import ./stand-ins/unit.nix { inherit lib; }) config.systemd.services;
    scripts = builtins.mapAttrs (_: service: service.script) config.systemd.services;
    slices = config.systemd.slices;
    tmpfiles = config.systemd.tmpfiles.rules;
    polkit = config.security.polkit;
    caddyfile = import ./stand-ins/caddyfile.nix { inherit lib; } config.services.caddy;
    caddy = config.services.caddy.enable;
    firewall = config.networking.firewall;
    users = config.users;
    nix = config.nix.settings;
    etc = builtins.attrNames config.environment.etc;
    inherit (config.services) garage postgresql redis;
  };
  checked = cfg.configFile;
}
