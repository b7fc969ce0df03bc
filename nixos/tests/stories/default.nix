# Stories of a whole machine, for those who have nixpkgs: each is a test of NixOS, with Kennel's module and packages.
#
# pkgs: nixpkgs. module: nixosModules.default. Returns a derivation by name.
{ pkgs, module }:
let
  helpers = builtins.readFile ./helpers.py;
  story = name: pkgs.testers.runNixOSTest {
    imports = [ (import (./. + "/${name}.nix") { inherit helpers; }) ];
    name = "kennel-${name}";
    defaults.imports = [ module ./machine.nix ];
  };
in
pkgs.lib.genAttrs [ "deploy" "preview" "crash" "postgres" "valkey" "garage" ] story
