# Valkey in development; in production Kennel gives each ref a database, under the same variables.
{ prefix }:
{ config, lib, pkgs, ... }:
let
  top = config.${prefix};
  url = "unix://${config.env.DEVENV_RUNTIME}/redis.sock?db=0";
in
{
  options.${prefix}.valkey.enable = lib.mkEnableOption "a local Valkey on a socket, and VALKEY_URL";

  config = lib.mkIf (top.enable && top.valkey.enable) {
    services.redis = {
      enable = true;
      package = pkgs.valkey;
      port = 0; # the socket is enough
    };
    env = {
      VALKEY_URL = url;
      REDIS_URL = url;
      VALKEY_CHANNELS = "${top.project.name}:";
    };
  };
}
