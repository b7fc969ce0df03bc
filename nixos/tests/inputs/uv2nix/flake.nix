{
  description = "Stands in for uv2nix: packages are what uv.lock names, and nothing is in them";

  outputs = _: {
    lib.workspace.loadWorkspace = { workspaceRoot }: {
      mkPyprojectOverlay = { sourcePreference }: _: _:
        builtins.listToAttrs (map
          (package: {
            inherit (package) name;
            value = {
              type = "derivation";
              inherit (package) name version;
              outPath = "/pkgs/${sourcePreference}/${package.name}-${package.version}";
            };
          })
          (builtins.fromTOML (builtins.readFile (workspaceRoot + "/uv.lock"))).package);
    };
  };
}
