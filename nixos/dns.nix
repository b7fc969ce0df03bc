# Names of custom domains, at Cloudflare.
{ config, lib, ... }:
let
  cfg = config.services.kennel;
  cloudflare = cfg.domains.cloudflare;
  inherit (lib) mkOption types;
  defaults = import ./defaults.nix lib;
in
{
  options.services.kennel.domains = {
    target = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "203.0.113.7";
      description = ''
        Where custom domains lead: an address of this machine, or a name. null: the domain of Kennel itself, which is
        on this machine, too.
      '';
    };

    cloudflare = {
      zones = mkOption {
        type = types.attrsOf types.str;
        default = { };
        example = { "example.org" = "0123456789abcdef0123456789abcdef"; };
        description = "Domains at Cloudflare, and the ids of their zones: records of custom domains are made there.";
      };

      tokenFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "A file with the token of Cloudflare's API. null: CLOUDFLARE_API_TOKEN in environmentFile.";
      };
    };
  };

  config = lib.mkIf (cfg.enable && cloudflare.zones != { }) {
    assertions = [
      {
        assertion = cloudflare.tokenFile != null || cfg.environmentFile != null;
        message = ''
          services.kennel.domains.cloudflare.zones needs a token that may edit them. Set
          services.kennel.domains.cloudflare.tokenFile, or services.kennel.environmentFile to a file with
          CLOUDFLARE_API_TOKEN.
        '';
      }
    ];
    services.kennel = {
      plugins = plugins: [ plugins.kennel-cloudflare ];
      credentials = lib.optionalAttrs (cloudflare.tokenFile != null) { cloudflare-token = cloudflare.tokenFile; };
      settings = defaults {
        domains.target = if cfg.domains.target != null then cfg.domains.target else cfg.domain;
        plugins.cloudflare = {
          zones = lib.attrNames cloudflare.zones;
          zone_ids = cloudflare.zones;
          token = if cloudflare.tokenFile != null then "credential:cloudflare-token" else "env:CLOUDFLARE_API_TOKEN";
        };
      };
    };
  };
}
