# Adds Kennel to a set of nixpkgs: `pkgs.kennel`, and its plugins below `pkgs.kennelPlugins`.
inputs:
final: _:
let packages = import ../packages { inherit inputs; pkgs = final; };
in
{
  inherit (packages) kennel;
  kennelPlugins = removeAttrs packages [ "default" "devenv" "kennel" ];
}
