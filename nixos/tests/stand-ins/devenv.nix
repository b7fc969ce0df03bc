# The options of devenv that Kennel's modules set and read, under the names and types that devenv gives them.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  flag = option types.bool false;
  text = option types.lines "";
  free = option (types.attrsOf types.anything) { };

  get.options = {
    host = option types.str "127.0.0.1";
    port = mkOption { type = types.port; };
    path = option types.str "/";
  };
  ready.options = {
    exec = option (types.nullOr types.str) null;
    http = option (types.submodule { options.get = option (types.nullOr (types.submodule get)) null; }) { };
  };
in
{
  options = {
    devenv.root = mkOption { type = types.str; };
    packages = option (types.listOf types.package) [ ];
    env = option (types.lazyAttrsOf types.anything) { };
    enterShell = text;
    secretspec.enable = mkOption { type = types.bool; default = false; readOnly = true; };

    processes = option
      (types.attrsOf (types.submodule {
        options = {
          exec = mkOption { type = types.str; };
          ready = option (types.nullOr (types.submodule ready)) null;
        };
      }))
      { };

    services.postgres = {
      enable = flag;
      package = option types.package pkgs.postgresql;
      listen_addresses = option types.str "127.0.0.1";
      extensions = option (types.nullOr (types.functionTo (types.listOf types.package))) null;
      initialDatabases = option (types.listOf (types.submodule { options.name = mkOption { type = types.str; }; })) [ ];
    };
    services.redis = { enable = flag; package = option types.package pkgs.valkey; port = option types.port 6379; };
    services.garage = {
      enable = flag;
      region = option types.str "us-east-1";
      buckets = option (types.listOf types.str) [ ];
      afterStart = text;
    };

    languages.rust = {
      enable = flag;
      channel = option (types.enum [ "nixpkgs" "stable" "beta" "nightly" ]) "nixpkgs";
      components = option (types.listOf types.str) [ ];
      toolchainPackage = option types.package pkgs.rust;
      cranelift = { enable = flag; forceBuildScriptsLlvm = flag; excludePackages = option (types.listOf types.str) [ ]; };
    };
    languages.javascript = { enable = flag; bun.enable = flag; };

    treefmt = {
      enable = flag;
      config.programs = free;
      config.settings.formatter = option
        (types.attrsOf (types.submodule {
          options = { command = mkOption { type = types.str; }; includes = option (types.listOf types.str) [ ]; };
        }))
        { };
    };
    git-hooks.hooks = option
      (types.attrsOf (types.submodule ({ name, ... }: {
        options = {
          enable = flag;
          name = option types.str name;
          entry = option types.str "its own";
          files = option types.str "";
          pass_filenames = option types.bool true;
          packageOverrides = free;
        };
      })))
      { };
    claude.code = { enable = flag; mcpServers = free; };
  };

  # What devenv's own modules say.
  config.env = {
    DEVENV_RUNTIME = "/run/user/1000/devenv";
    DEVENV_STATE = "${config.devenv.root}/.devenv/state";
  } // lib.optionalAttrs config.services.garage.enable { GARAGE_S3_ENDPOINT = "http://127.0.0.1:3900"; };
}
