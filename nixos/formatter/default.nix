# `nix fmt`: formats Nix and Python.
{ pkgs, ... }:
pkgs.writeShellScriptBin "kennel-format" ''
  set -e
  files=("$@")
  [ ''${#files[@]} -gt 0 ] || files=(.)
  ${pkgs.lib.getExe pkgs.nixpkgs-fmt} "''${files[@]}"
  ${pkgs.lib.getExe pkgs.ruff} format "''${files[@]}"
''
