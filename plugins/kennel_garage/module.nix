# A Garage for Kennel's tenants: `services.kennel.garage.enable = true;`
#
# One node that keeps everything on this machine, with its layout, and Kennel's [plugins.garage] beside it. For a
# cluster set services.garage up by hand, and only `services.kennel.settings.plugins.garage` here.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.kennel.garage;
  garage = lib.getExe config.services.garage.package;
in
{
  options.services.kennel.garage = {
    enable = lib.mkEnableOption "a Garage bucket for every tenant that asks for one";

    adminTokenFile = lib.mkOption {
      type = lib.types.str;
      example = "/run/secrets/garage-admin-token";
      description = "A file with the token of the admin API, without a dot in it.";
    };

    rpcSecretFile = lib.mkOption {
      type = lib.types.str;
      example = "/run/secrets/garage-rpc-secret";
      description = "A file with 64 hexadecimal digits, by which nodes know each other.";
    };

    capacity = lib.mkOption {
      type = lib.types.str;
      default = "100G";
      description = "How much this node keeps.";
    };

    maxSize = lib.mkOption {
      type = lib.types.nullOr lib.types.ints.positive;
      default = null;
      description = "Bytes that each bucket may hold.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.garage = {
      enable = true;
      package = lib.mkDefault pkgs.garage_2;
      settings = {
        db_engine = lib.mkDefault "sqlite";
        replication_factor = lib.mkDefault 1;
        rpc_bind_addr = lib.mkDefault "127.0.0.1:3901";
        rpc_public_addr = lib.mkDefault "127.0.0.1:3901";
        rpc_secret_file = "/run/credentials/garage.service/rpc-secret";
        s3_api = {
          s3_region = lib.mkDefault "garage";
          api_bind_addr = lib.mkDefault "127.0.0.1:3900";
        };
        admin = {
          api_bind_addr = lib.mkDefault "127.0.0.1:3903";
          admin_token_file = "/run/credentials/garage.service/admin-token";
        };
      };
    };

    systemd.services.garage.serviceConfig.LoadCredential = [
      "rpc-secret:${cfg.rpcSecretFile}"
      "admin-token:${cfg.adminTokenFile}"
    ];

    systemd.services.kennel-garage-layout = {
      description = "Give Garage's one node everything to keep";
      after = [ "garage.service" ];
      requires = [ "garage.service" ];
      before = [ "kennel.service" ];
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        LoadCredential = [ "rpc-secret:${cfg.rpcSecretFile}" ];
      };
      environment.GARAGE_RPC_SECRET_FILE = "%d/rpc-secret";
      script = ''
        for _ in $(seq 100); do
          node=$(${garage} node id --quiet 2>/dev/null | cut -d@ -f1) && [ -n "$node" ] && break
          sleep 0.1
        done
        if ${garage} layout show | grep -q "Current cluster layout version: 0"; then
          ${garage} layout assign --zone here --capacity ${lib.escapeShellArg cfg.capacity} "$node"
          ${garage} layout apply --version 1
        fi
      '';
    };

    systemd.services.kennel = {
      after = [ "garage.service" ];
      serviceConfig.LoadCredential = [ "garage-admin-token:${cfg.adminTokenFile}" ];
    };

    services.kennel.settings.plugins.garage = {
      admin_token = "credential:garage-admin-token";
    } // lib.optionalAttrs (cfg.maxSize != null) { max_size = cfg.maxSize; };
  };
}
