# Kennel, its plugins and devenv.
{ inputs, pkgs, ... }:
let python = import ./python.nix { inherit inputs pkgs; };
in
python.plugins // rec {
  kennel = import ./kennel.nix { inherit pkgs python; } [ ];
  default = kennel;
  inherit (pkgs) devenv;
}
