# Makes an output of a flake that is there for every system, from a function of one system's packages.
{ nixpkgs, ... }@inputs:
output:
nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: output {
  inherit inputs system;
  pkgs = nixpkgs.legacyPackages.${system};
})
