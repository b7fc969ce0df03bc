# A Valkey for Kennel's tenants: `services.kennel.valkey.enable = true;`
#
# One server on a socket that everybody may connect to and nobody gets into without a password, and Kennel's
# [plugins.valkey] beside it. With `isolation = "instance"` there is no such server: Kennel starts one for each tenant.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.kennel.valkey;
  shared = cfg.isolation == "database";
in
{
  options.services.kennel.valkey = {
    enable = lib.mkEnableOption "a Valkey database for every tenant that asks for one";

    isolation = lib.mkOption {
      type = lib.types.enum [ "database" "instance" ];
      default = "database";
      description = "Whether a tenant gets a database of one server, or a server.";
    };

    aclFile = lib.mkOption {
      type = lib.types.str;
      example = "/run/secrets/valkey.acl";
      description = ''
        A file with two lines: `user default off` and `user kennel on >PASSWORD ~* &* +@all`.
        Only of use with isolation = "database".
      '';
    };

    passwordFile = lib.mkOption {
      type = lib.types.str;
      example = "/run/secrets/valkey-password";
      description = "A file with that password alone, for Kennel.";
    };

    databases = lib.mkOption {
      type = lib.types.ints.between 2 1048576;
      default = 4096;
      description = "How many there are: one for each tenant, and the first is nobody's.";
    };

    package = lib.mkPackageOption pkgs "valkey" { };
  };

  config = lib.mkIf cfg.enable (lib.mkMerge [
    (lib.mkIf shared {
      services.redis.package = lib.mkDefault cfg.package;
      services.redis.servers.kennel = {
        enable = true;
        port = 0;
        unixSocket = "/run/redis-kennel/valkey.sock";
        unixSocketPerm = 666; # services run as users that are made when they start
        databases = cfg.databases;
        appendOnly = lib.mkDefault true;
        settings.aclfile = "/run/credentials/redis-kennel.service/users.acl";
      };
      systemd.services.redis-kennel.serviceConfig = {
        RuntimeDirectoryMode = lib.mkForce "0755";
        LoadCredential = [ "users.acl:${cfg.aclFile}" ];
      };
      systemd.services.kennel = {
        after = [ "redis-kennel.service" ];
        serviceConfig.LoadCredential = [ "valkey-password:${cfg.passwordFile}" ];
      };
      services.kennel.settings.plugins.valkey = {
        socket = "/run/redis-kennel/valkey.sock";
        user = "kennel";
        password = "credential:valkey-password";
      };
    })
    (lib.mkIf (!shared) {
      services.kennel.settings.plugins.valkey = {
        isolation = "instance";
        program = lib.getExe' cfg.package "valkey-server";
      };
    })
  ]);
}
