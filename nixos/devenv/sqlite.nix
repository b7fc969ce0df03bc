# SQLite in development.
{ prefix }:
{ config, lib, pkgs, ... }:
let top = config.${prefix};
in
{
  options.${prefix}.sqlite.enable = lib.mkEnableOption "SQLite for local development, and DATABASE_PATH";

  config = lib.mkIf (top.enable && top.sqlite.enable) {
    packages = [ pkgs.sqlite ];
    env.DATABASE_PATH = "${config.env.DEVENV_STATE}/${top.project.name}.db";
  };
}
