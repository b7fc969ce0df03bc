# `nix flake check`: everything is packaged, and the stories of whole machines.
{ inputs, pkgs, system, ... }:
let packages = inputs.self.packages.${system};
in
{
  all-plugins = packages.kennel.withPlugins builtins.attrValues;
}
  // import ../tests/stories { inherit pkgs; module = inputs.self.nixosModules.default; }
