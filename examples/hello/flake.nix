{
  description = "A service and a site that Kennel deploys";

  # A real project has inputs and builds its packages with nixpkgs. This one has none, so that it
  # builds anywhere, at once and without a network.

  outputs = { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];

      forEachSystem = packages:
        builtins.listToAttrs (map (name: { inherit name; value = packages; }) systems);

      # Makes a package of a folder of this repository with nothing but Nix itself: its built-in
      # builder links the folder's files. (It adds an empty manifest.nix; that is its way.)
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
      packages = forEachSystem {
        hello = folder "hello" "${./hello}";
        docs = folder "docs" "${./docs}";
      };

      # What Kennel is to run: each name is a package above.
      kennel = {
        version = 1;
        services.hello = { ready.path = "/health"; };
        sites.docs = { };
      };
    };
}
