# What services may use, when previews sleep and go, and what all of them together may use.
{ config, lib, ... }:
let
  cfg = config.services.kennel;
  inherit (lib) mkOption types;
  defaults = import ./defaults.nix lib;
  bytes = import ./bytes.nix { inherit lib; };
  limits = import ./limit-options.nix { inherit lib; };
  span = types.nullOr (types.either types.ints.unsigned types.str);
  sleepAfter = mkOption {
    type = span;
    default = null;
    example = "12h";
    description = "How long a ref goes without a push and without a request until its services are stopped. 0: never.";
  };
in
{
  options.services.kennel = {
    limits = limits.options;

    environments = mkOption {
      type = types.attrsOf (types.submodule { options = limits.options // { inherit sleepAfter; }; });
      default = { };
      example = { preview = { sleepAfter = "12h"; memoryMax = "256M"; }; };
      description = "What holds in one environment, which is prod, staging, dev or preview.";
    };

    previews = {
      expireAfter = mkOption {
        type = span;
        default = null;
        example = "30d";
        description = "How long a preview goes without a push and a request until all of it is removed. 0: never.";
      };
      memoryMax = mkOption {
        type = types.nullOr bytes.type;
        default = null;
        example = "16G";
        description = "What the services of all previews may use together; beyond that, those idle longest sleep.";
      };
      approvalLabel = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The label that lets a pull request from a fork be built.";
      };
    };
  };

  config.services.kennel.settings = lib.mkIf cfg.enable (defaults {
    services = limits.settings cfg.limits;
    environments = lib.mapAttrs (_: one: limits.settings one // { sleep_after = one.sleepAfter; }) cfg.environments;
    previews = {
      expire_after = cfg.previews.expireAfter;
      memory_max = bytes.count cfg.previews.memoryMax;
      approval_label = cfg.previews.approvalLabel;
    };
  });
}
