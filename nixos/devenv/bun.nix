# JavaScript, with Bun.
{ prefix }:
{ config, lib, pkgs, ... }:
let
  top = config.${prefix};
  files = [ "*.js" "*.jsx" "*.mjs" "*.ts" "*.tsx" ];
in
{
  options.${prefix}.bun.enable = lib.mkEnableOption "Bun, oxfmt to format with, and oxlint";

  config = lib.mkIf (top.enable && top.bun.enable) {
    packages = [ pkgs.oxlint ];
    languages.javascript = {
      enable = true;
      bun.enable = true;
    };
    treefmt.config.settings.formatter.oxfmt = {
      command = lib.getExe pkgs.oxfmt;
      includes = files;
    };
    git-hooks.hooks.oxlint = {
      enable = true;
      name = "oxlint";
      entry = lib.getExe pkgs.oxlint;
      files = "\\.(jsx?|mjs|tsx?)$";
    };
  };
}
