# PostgreSQL in development; in production Kennel gives each ref a database, under the same variables.
{ prefix }:
{ config, lib, pkgs, ... }:
let
  top = config.${prefix};
  cfg = top.postgres;
in
{
  options.${prefix}.postgres = {
    enable = lib.mkEnableOption "a local PostgreSQL 18 on a socket, and DATABASE_URL";

    extensions = lib.mkOption {
      type = lib.types.functionTo (lib.types.listOf lib.types.package);
      default = e: [ e.pg_uuidv7 ];
      defaultText = lib.literalExpression "e: [ e.pg_uuidv7 ]";
      description = "PostgreSQL's extensions, chosen from the set of them.";
    };
  };

  config = lib.mkIf (top.enable && cfg.enable) {
    services.postgres = {
      enable = true;
      package = pkgs.postgresql_18;
      listen_addresses = ""; # the socket is enough
      inherit (cfg) extensions;
      initialDatabases = [{ name = top.project.name; }];
    };
    env = {
      PGDATABASE = top.project.name;
      DATABASE_URL = "postgresql:///${top.project.name}?host=${config.env.DEVENV_RUNTIME}/postgres";
    };
  };
}
