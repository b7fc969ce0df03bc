# The module for NixOS, with the packages of this flake where nothing else is said.
{ self, ... }:
{ lib, pkgs, ... }:
let packages = self.packages.${pkgs.stdenv.hostPlatform.system};
in
{
  imports = [ ../module.nix ];

  services.kennel = {
    package = lib.mkDefault packages.kennel;
    devenvPackage = lib.mkDefault packages.devenv;
  };
}
