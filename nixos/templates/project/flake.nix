{
  description = "A project that Kennel deploys";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { nixpkgs, ... }:
    let
      eachSystem = packages: nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ]
        (system: packages nixpkgs.legacyPackages.${system});
    in
    {
      packages = eachSystem (pkgs: {
        api = pkgs.writeShellApplication {
          name = "api";
          runtimeInputs = [ (pkgs.python3.withPackages (python: [ python.psycopg ])) ];
          text = ''exec python3 ${./api.py} "$@"'';
        };
        docs = pkgs.runCommand "docs" { } "cp -r ${./docs} $out";
      });

      # What Kennel runs: each name is a package above. https://github.com/ScottyLabs/kennel has docs/manifest.md.
      kennel = {
        version = 1;
        services.api.ready.path = "/health";
        sites.docs = { };
        resources = [ "postgres" ];
        release.args = [ "migrate" ]; # before each build goes live
      };
    };
}
