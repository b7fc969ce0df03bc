{
  description = "Stands in for nixpkgs, where there is none";

  outputs = _:
    let lib = import ./lib;
    in {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ]
        (system: import ./pkgs.nix { inherit lib system; });
    };
}
