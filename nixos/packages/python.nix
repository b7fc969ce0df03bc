# Kennel's Python packages, in the versions of uv.lock: those that were tested.
{ inputs, pkgs }:
let
  inherit (inputs) pyproject-build-systems pyproject-nix uv2nix;
  inherit (pkgs) lib;

  packagesOf = root: (uv2nix.lib.workspace.loadWorkspace { workspaceRoot = root; }).mkPyprojectOverlay {
    sourcePreference = "wheel";
  };

  set = (pkgs.callPackage pyproject-nix.build.packages { python = pkgs.python313; }).overrideScope
    (lib.composeManyExtensions [ pyproject-build-systems.overlays.wheel (packagesOf ../..) ]);

  # What makes a package a plugin that `withPlugins` takes: its name, and the packages that come with it.
  plugin = overlay: set: name: set.${name} // { kennelPlugin = { inherit name overlay; }; };
  nothing = _: _: { };
in
{
  inherit set;

  plugins = lib.genAttrs [ "kennel-cloudflare" "kennel-garage" "kennel-openbao" "kennel-postgres" "kennel-valkey" ]
    (plugin nothing set);

  # A plugin of somebody else's, from its folder with pyproject.toml and uv.lock. What Kennel has itself it has in
  # Kennel's versions; the rest comes from the plugin's uv.lock.
  buildPlugin = { root, name }:
    let overlay = final: previous: lib.filterAttrs (other: _: !(previous ? ${other})) (packagesOf root final previous);
    in plugin overlay (set.overrideScope overlay) name;
}
