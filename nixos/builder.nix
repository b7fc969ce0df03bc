# How commits are built, and where to what is built is pushed.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.kennel;
  builder = cfg.builder;
  cachix = builder.cachix;
  inherit (lib) mkOption types;
  defaults = import ./defaults.nix lib;
in
{
  options.services.kennel.builder = {
    maxConcurrentBuilds = mkOption {
      type = types.int;
      default = 2;
      description = "How many builds go on side by side.";
    };

    workDir = mkOption {
      type = types.path;
      default = "/var/lib/kennel/builds";
      description = "Where clones and checkouts are.";
    };

    cachix = {
      enable = lib.mkEnableOption "pushing what trusted builds make to a cache of Cachix";

      cacheName = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "acme";
        description = "The name of the cache.";
      };

      publicKey = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "acme.cachix.org-1:5ZFfx1S1bC8/rUhbM2fXC6HJ7vvjZvrmTmGJqwjmdjA=";
        description = "The public key of the cache. Without it this machine does not fetch from the cache.";
      };

      tokenFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "A file with a token that may push. null: CACHIX_AUTH_TOKEN in environmentFile.";
      };
    };
  };

  config = lib.mkIf cfg.enable (lib.mkMerge [
    {
      services.kennel.settings = defaults {
        build = {
          max_concurrent = builder.maxConcurrentBuilds;
          dir = toString builder.workDir;
          devenv = lib.getExe cfg.devenvPackage;
        };
      };
    }

    (lib.mkIf cachix.enable {
      assertions = [
        {
          assertion = cachix.cacheName != null;
          message = ''
            services.kennel.builder.cachix.enable needs the name of a cache: set services.kennel.builder.cachix.cacheName.
          '';
        }
        {
          assertion = cachix.tokenFile != null || cfg.environmentFile != null;
          message = ''
            services.kennel.builder.cachix.enable needs a token that may push. Set services.kennel.builder.cachix.tokenFile,
            or services.kennel.environmentFile to a file with CACHIX_AUTH_TOKEN.
          '';
        }
      ];
      services.kennel = {
        credentials = lib.optionalAttrs (cachix.tokenFile != null) { cachix-token = cachix.tokenFile; };
        settings = defaults {
          plugins.cachix = {
            cache = cachix.cacheName;
            token = if cachix.tokenFile != null then "credential:cachix-token" else "env:CACHIX_AUTH_TOKEN";
            program = lib.getExe pkgs.cachix;
          };
        };
      };
      nix.settings = lib.mkIf (cachix.publicKey != null) {
        extra-substituters = [ "https://${toString cachix.cacheName}.cachix.org" ];
        extra-trusted-public-keys = [ cachix.publicKey ];
      };
    })
  ]);
}
