# PostgreSQL on this machine, for Kennel: its role, who is asked for a password, and who gets in where.
{ config, lib, ... }:
let
  kennel = config.services.kennel;
  cfg = kennel.resources.postgres;
  package = config.services.postgresql.finalPackage or config.services.postgresql.package;
in
{
  options.services.kennel.resources.postgres = {
    enable = lib.mkEnableOption "a PostgreSQL database for every tenant that asks for one";

    socketDir = lib.mkOption {
      type = lib.types.path;
      default = "/run/postgresql";
      description = "The folder of the server's socket. Kennel connects as the role kennel, by peer authentication.";
    };

    createLocally = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether to set up services.postgresql for it. Otherwise the plugin's README says what a server needs.";
    };
  };

  config = lib.mkIf (kennel.enable && cfg.enable) (lib.mkMerge [
    {
      services.kennel = {
        plugins = plugins: [ plugins.kennel-postgres ];
        settings.plugins.postgres.socket_dir = lib.mkDefault (toString cfg.socketDir);
      };
    }

    (lib.mkIf cfg.createLocally {
      assertions = [
        {
          assertion = toString cfg.socketDir == "/run/postgresql";
          message = ''
            services.kennel.resources.postgres.socketDir is ${toString cfg.socketDir}, and NixOS' PostgreSQL has its socket
            in /run/postgresql. Leave socketDir out, or set services.kennel.resources.postgres.createLocally = false for a
            server of your own.
          '';
        }
      ];

      services.postgresql = {
        enable = true;
        ensureUsers = [
          {
            name = "kennel";
            ensureClauses = {
              login = true;
              createdb = true;
              createrole = true;
            };
          }
        ];
        # A database is called like the role that owns it. Before the lines that are there by default.
        authentication = lib.mkBefore ''
          local  all       postgres  peer
          local  all       kennel    peer
          local  sameuser  all       scram-sha-256
        '';
        settings.password_encryption = "scram-sha-256";
      };

      # Every role may connect to every database unless that is revoked. Can be run again at will.
      systemd.services.kennel-postgresql-setup = {
        description = "Keep tenants of Kennel's out of databases that are not theirs";
        after = [ "postgresql.service" "postgresql-setup.service" ];
        requires = [ "postgresql.service" ];
        wantedBy = [ "multi-user.target" ];
        before = [ "kennel.service" ];
        path = [ package ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          User = "postgres";
        };
        script = ''
          psql --no-psqlrc --set ON_ERROR_STOP=1 --host /run/postgresql --dbname postgres <<'SQL'
          GRANT CONNECT ON DATABASE postgres TO kennel;
          REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
          SQL
        '';
      };

      systemd.services.kennel = {
        after = [ "postgresql.service" ];
        path = [ package ]; # pg_dump and pg_restore, as new as the server
      };
    })
  ]);
}
