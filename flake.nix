{
  description = "Push a branch, get a running copy of it: a deployment platform for your own NixOS machines";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    pyproject-nix = {
      url = "github:pyproject-nix/pyproject.nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    uv2nix = {
      url = "github:pyproject-nix/uv2nix";
      inputs.nixpkgs.follows = "nixpkgs";
      inputs.pyproject-nix.follows = "pyproject-nix";
    };
    pyproject-build-systems = {
      url = "github:pyproject-nix/build-system-pkgs";
      inputs.nixpkgs.follows = "nixpkgs";
      inputs.pyproject-nix.follows = "pyproject-nix";
      inputs.uv2nix.follows = "uv2nix";
    };
  };

  outputs = inputs:
    let eachSystem = import ./nixos/each-system.nix inputs;
    in {
      packages = eachSystem (import ./nixos/packages);
      overlays.default = import ./nixos/overlay inputs;
      nixosModules.default = import ./nixos/flake-module inputs;
      devenvModules.default = import ./nixos/devenv { };
      lib.devenvModule = import ./nixos/devenv;
      devShells = eachSystem (import ./nixos/shell);
      checks = eachSystem (import ./nixos/checks);
      templates = import ./nixos/templates;
      formatter = eachSystem (import ./nixos/formatter);
    };
}
