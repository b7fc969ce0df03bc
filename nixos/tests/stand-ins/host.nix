# The options of NixOS that Kennel's module sets, under the names and types that NixOS gives them.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  flag = option types.bool false;
  text = option types.lines "";
  names = option (types.listOf types.str) [ ];
  package = name: option types.package pkgs.${name};
  free = option (types.attrsOf types.anything) { };

  value = with types; oneOf [ bool int str path package ];
  # A setting of a unit: one value, or several that add up.
  setting = with types; either (listOf value) (nullOr value);
  settings = option (types.attrsOf setting) { };

  unit = {
    options = {
      description = option types.str "";
      after = names;
      before = names;
      requires = names;
      requiredBy = names;
      wants = names;
      wantedBy = names;
      unitConfig = settings;
    };
  };
  service = {
    options = unit.options // {
      environment = option (types.attrsOf (types.nullOr types.str)) { };
      path = option (types.listOf (types.either types.package types.str)) [ ];
      script = text;
      stopIfChanged = option types.bool true;
      serviceConfig = settings;
    };
  };
in
{
  options = {
    assertions = option (types.listOf types.raw) [ ];
    warnings = names;

    boot.kernelModules = names;
    environment.etc = option (types.attrsOf (types.submodule { options.source = mkOption { type = types.path; }; })) { };
    environment.variables = option (types.attrsOf types.str) { };
    environment.systemPackages = option (types.listOf types.package) [ ];
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
    networking.firewall.allowedUDPPorts = option (types.listOf types.port) [ ];
    networking.hosts = option (types.attrsOf (types.listOf types.str)) { };
    nix.package = package "nix";
    nix.settings = free;
    security.polkit.enable = flag;
    security.polkit.extraConfig = text;

    services.caddy = {
      enable = flag;
      package = package "caddy";
      group = option types.str "caddy";
      globalConfig = text;
      settings = free;
      virtualHosts = option (types.attrsOf (types.submodule { options.extraConfig = text; })) { };
    };
    services.garage = { enable = flag; package = package "garage_2"; settings = free; };
    services.postgresql = {
      enable = flag;
      package = package "postgresql";
      authentication = text;
      identMap = text;
      ensureUsers = option
        (types.listOf (types.submodule {
          options.name = mkOption { type = types.str; };
          options.ensureClauses = option (types.attrsOf types.bool) { };
        })) [ ];
      settings = free;
    };
    services.redis.package = package "valkey";
    services.redis.servers = option
      (types.attrsOf (types.submodule {
        options = {
          enable = flag;
          port = mkOption { type = types.port; };
          unixSocket = option (types.nullOr types.path) null;
          unixSocketPerm = option types.int 660;
          databases = option types.int 16;
          appendOnly = flag;
          settings = free;
        };
      }))
      { };

    systemd.package = package "systemd";
    systemd.services = option (types.attrsOf (types.submodule service)) { };
    systemd.slices = option (types.attrsOf (types.submodule { options = unit.options // { sliceConfig = settings; }; })) { };
    systemd.tmpfiles.rules = names;

    system.extraDependencies = option (types.listOf types.package) [ ];
    virtualisation = free;

    users.users = option
      (types.attrsOf (types.submodule {
        options = {
          isSystemUser = flag;
          group = option types.str "";
          home = option types.path "/var/empty";
        };
      }))
      { };
    users.groups = option (types.attrsOf (types.submodule { options = { }; })) { };
  };

  # What NixOS' own modules say of the units that Kennel's adds to.
  config = {
    systemd.services = lib.mkIf (config.services.redis.servers ? kennel) {
      redis-kennel.serviceConfig = { RuntimeDirectory = "redis-kennel"; RuntimeDirectoryMode = "0750"; };
    };
  };
}
