{
  description = "A service with a database, a cache and a bucket that Kennel gives it";

  # A real project builds its packages with nixpkgs, interpreter and libraries included. This one has
  # no inputs: `notes` is a script, and what it imports has to be on the machine. See README.md.

  outputs = { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];

      forEachSystem = packages:
        builtins.listToAttrs (map (name: { inherit name; value = packages; }) systems);

      folder = name: path: derivation {
        inherit name;
        system = "builtin";
        builder = "builtin:buildenv";
        derivations = [ "true" "5" "1" path ];
        manifest = builtins.toFile "manifest.nix" "[ ]";
        preferLocalBuild = true;
        allowSubstitutes = false;
      };
    in
    {
      packages = forEachSystem { notes = folder "notes" "${./notes}"; };

      kennel = {
        version = 1;
        resources = [ "postgres" "valkey" "garage" ];
        seed.args = [ "seed" ]; # once, when the database is new: previews have something to show
        release.args = [ "migrate" ]; # before each build goes live
        services.notes = { ready.path = "/health"; };
      };
    };
}
