# What Kennel deploys: kennel.json, made of what is declared here and of what is enabled elsewhere.
{ prefix }:
{ config, lib, pkgs, ... }:
let
  top = config.${prefix};
  cfg = top.kennel;
  inherit (lib) mkOption types;

  customDomain = mkOption {
    type = types.nullOr types.str;
    default = null;
    example = "api.example.org";
    description = "A host of its own in production, which the operator has to grant.";
  };
  settings = mkOption {
    type = types.attrsOf types.anything;
    default = { };
    description = "Other keys of its entry in kennel.json, such as limits or schedule. What is here wins.";
  };

  stated = lib.filterAttrs (_: value: value != null);
  # A process says when it is ready, for devenv; Kennel asks the same path, at the port that it gives.
  ready = process:
    let get = process.ready.http.get or null; # null as well where `ready` is
    in if get == null then null else { inherit (get) path; };

  service = name: one:
    if !(config.processes ? ${name}) then
      throw ''
        ${prefix}.kennel.services.${name} is no process of devenv: declare processes.${name}, or call the service as one
        of these: ${lib.concatStringsSep ", " (lib.attrNames config.processes)}
      ''
    else stated
      {
        custom_domain = one.customDomain;
        ready = ready config.processes.${name};
      } // one.settings;
  site = _: one: stated { custom_domain = one.customDomain; inherit (one) spa; } // one.settings;

  manifest = if !top.enable then throw "Nothing is deployed without ${prefix}.enable = true" else {
    version = 1;
    services = lib.mapAttrs service cfg.services;
    sites = lib.mapAttrs site cfg.sites;
    resources = lib.filter (name: top.${name}.enable) [ "postgres" "valkey" "garage" ];
  } // cfg.settings;

  secretspec = top.secrets.file;
in
{
  options.${prefix}.kennel = {
    services = mkOption {
      default = { };
      example = { api.customDomain = "api.example.org"; };
      description = ''
        Services that Kennel deploys. Each is called like a process of devenv and like a package of the flake: that is what
        runs, listening on $PORT. The path of processes.NAME.ready.http.get is asked before visitors come.
      '';
      type = types.attrsOf (types.submodule { options = { inherit customDomain settings; }; });
    };

    sites = mkOption {
      default = { };
      example = { docs.spa = true; };
      description = "Static sites that Kennel serves. Each is called like a package of the flake: a folder of files.";
      type = types.attrsOf (types.submodule {
        options = {
          inherit customDomain settings;
          spa = mkOption {
            type = types.bool;
            default = false;
            description = "Whether unknown paths answer index.html.";
          };
        };
      });
    };

    settings = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      example = { previews = false; release.args = [ "migrate" ]; };
      description = "Other keys of kennel.json, as docs/manifest.md has them. What is here wins.";
    };

    config = mkOption {
      type = types.package;
      readOnly = true;
      description = "A folder with kennel.json, and with the project's secretspec.toml if it has one; Kennel builds it.";
      default = pkgs.runCommand "kennel-config" { } ''
        mkdir $out
        cp ${(pkgs.formats.json { }).generate "kennel.json" manifest} $out/kennel.json
        ${lib.optionalString (secretspec != null) "cp ${secretspec} $out/secretspec.toml"}
      '';
      defaultText = "kennel.json, and secretspec.toml beside it";
    };
  };
}
