{
  description = "A folder for every tenant, for Kennel";

  inputs.kennel.url = "github:ScottyLabs/kennel";

  outputs = { self, kennel, ... }: {
    packages = builtins.mapAttrs
      (_: packages: {
        default = packages.kennel.buildPlugin {
          root = ./.;
          name = "kennel-scratch";
        };
      })
      kennel.packages;

    nixosModules.default = { pkgs, ... }: {
      services.kennel.plugins = _: [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
    };
  };
}
