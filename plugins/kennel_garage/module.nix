# Garage, for Kennel; and, with `server.enable`, one on this machine: a node that keeps everything here, with its layout.
{ config, lib, pkgs, ... }:
let
  kennel = config.services.kennel;
  cfg = kennel.resources.garage;
  server = cfg.server;
  garage = lib.getExe config.services.garage.package;
  port = builtins.match "https?://[^/]*:([0-9]+)/?" cfg.adminEndpoint;
in
{
  options.services.kennel.resources.garage = {
    enable = lib.mkEnableOption "a Garage bucket for every tenant that asks for one";

    adminEndpoint = lib.mkOption {
      type = lib.types.str;
      default = "http://localhost:3903";
      description = "Where Garage's admin API is.";
    };

    s3Endpoint = lib.mkOption {
      type = lib.types.str;
      default = "http://localhost:3900";
      description = "Where tenants, and Kennel, speak S3.";
    };

    adminTokenFile = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = "/run/secrets/garage-admin-token";
      description = ''
        A file with the token of the admin API, without a dot in it; root reads it. null: GARAGE_ADMIN_TOKEN in
        services.kennel.environmentFile.
      '';
    };

    server = {
      enable = lib.mkEnableOption "a Garage of one node on this machine";

      rpcSecretFile = lib.mkOption {
        type = lib.types.nullOr lib.types.path;
        default = null;
        example = "/run/secrets/garage-rpc-secret";
        description = "A file with 64 hexadecimal digits, by which nodes know each other; root reads it.";
      };

      capacity = lib.mkOption {
        type = lib.types.str;
        default = "100G";
        description = "How much this node keeps.";
      };
    };
  };

  config = lib.mkIf (kennel.enable && cfg.enable) (lib.mkMerge [
    {
      assertions = [
        {
          assertion = cfg.adminTokenFile != null || kennel.environmentFile != null;
          message = ''
            services.kennel.resources.garage needs the token of Garage's admin API. Set
            services.kennel.resources.garage.adminTokenFile, or services.kennel.environmentFile to a file with
            GARAGE_ADMIN_TOKEN.
          '';
        }
      ];
      services.kennel = {
        plugins = plugins: [ plugins.kennel-garage ];
        closedPorts = lib.optional (port != null) (lib.toInt (lib.head port)); # the token protects it; so does this
        credentials = lib.optionalAttrs (cfg.adminTokenFile != null) { garage-admin-token = cfg.adminTokenFile; };
        settings.plugins.garage = {
          admin_url = lib.mkDefault cfg.adminEndpoint;
          endpoint = lib.mkDefault cfg.s3Endpoint;
          admin_token = lib.mkDefault
            (if cfg.adminTokenFile != null then "credential:garage-admin-token" else "env:GARAGE_ADMIN_TOKEN");
        };
      };
    }

    (lib.mkIf server.enable {
      assertions = [
        {
          assertion = cfg.adminTokenFile != null && server.rpcSecretFile != null;
          message = ''
            services.kennel.resources.garage.server needs two secrets in files: set
            services.kennel.resources.garage.adminTokenFile and services.kennel.resources.garage.server.rpcSecretFile.
          '';
        }
      ];

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
        "rpc-secret:${toString server.rpcSecretFile}"
        "admin-token:${toString cfg.adminTokenFile}"
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
          LoadCredential = [ "rpc-secret:${toString server.rpcSecretFile}" ];
        };
        environment.GARAGE_RPC_SECRET_FILE = "%d/rpc-secret";
        script = ''
          for _ in $(seq 100); do
            node=$(${garage} node id --quiet 2>/dev/null | cut -d@ -f1) && [ -n "$node" ] && break
            sleep 0.1
          done
          if ${garage} layout show | grep -q "Current cluster layout version: 0"; then
            ${garage} layout assign --zone here --capacity ${lib.escapeShellArg server.capacity} "$node"
            ${garage} layout apply --version 1
          fi
        '';
      };

      systemd.services.kennel.after = [ "garage.service" ];
    })
  ]);
}
