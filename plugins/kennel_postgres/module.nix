# PostgreSQL on this machine, for Kennel: its role, who is asked for a password, and who gets in where.
{ config, lib, ... }:
let
  cfg = config.services.kennel.resources.postgres;
in
{
  options.services.kennel.resources.postgres = {
    enable = lib.mkEnableOption "a PostgreSQL database for every tenant of Kennel's";

    socketDir = lib.mkOption {
      type = lib.types.path;
      default = "/run/postgresql";
      description = "The folder of the server's socket.";
    };

    user = lib.mkOption {
      type = lib.types.str;
      default = "kennel";
      description = "The system's user that Kennel runs as, and Kennel's role of the same name.";
    };

    settings = lib.mkOption {
      type = lib.types.attrsOf lib.types.anything;
      default = { };
      example = { connections = 10; };
      description = "What else [plugins.postgres] of kennel.toml says: see the plugin's README.";
    };

    table = lib.mkOption {
      type = lib.types.attrsOf lib.types.anything;
      readOnly = true;
      default = { socket_dir = cfg.socketDir; } // cfg.settings;
      description = "The table [plugins.postgres] of kennel.toml, for whoever writes that file.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.postgresql = {
      enable = true;
      ensureUsers = [
        {
          name = cfg.user;
          ensureClauses = {
            login = true;
            createdb = true;
            createrole = true;
          };
        }
      ];
      # A database is called like the role that owns it. Before the lines that are there by default.
      authentication = lib.mkBefore ''
        local  all       postgres     peer
        local  all       ${cfg.user}  peer
        local  sameuser  all          scram-sha-256
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
      path = [ config.services.postgresql.finalPackage or config.services.postgresql.package ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        User = "postgres";
      };
      script = ''
        psql --no-psqlrc --set ON_ERROR_STOP=1 --host ${cfg.socketDir} --dbname postgres <<'SQL'
        GRANT CONNECT ON DATABASE postgres TO "${cfg.user}";
        REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
        SQL
      '';
    };

    # pg_dump and pg_restore, as new as the server
    systemd.services.kennel.path = [
      (config.services.postgresql.finalPackage or config.services.postgresql.package)
    ];
  };
}
