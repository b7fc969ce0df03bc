# Evaluates a devenv.nix that imports Kennel's modules, on machines without devenv and nixpkgs.
#
# project: a module. root: where the project is. path: where builders find programs. prefix: of the options.
{ project, root ? "/home/ada/shop", path ? "/usr/bin:/bin", prefix ? "scottylabs", modules ? [ ] }:
let
  lib = import ./stand-ins/lib;
  pkgs = import ./stand-ins/pkgs.nix { inherit lib path; } // { my-project = "/pkgs/my-project"; };
  evaluation = lib.evalModules {
    modules = [ ./stand-ins/devenv.nix { devenv = { inherit root; }; } project ] ++ modules;
    specialArgs = {
      inherit pkgs;
      inputs.scottylabs.devenvModules.default = import ../devenv { inherit prefix; };
    };
  };
  inherit (evaluation) config;
in
{
  inherit lib evaluation;
  inherit (config.${prefix}.kennel) config;
  shell = {
    packages = map (package: package.name) config.packages;
    inherit (config) enterShell env languages;
    services = builtins.mapAttrs (_: service: lib.filterAttrs (_: value: !builtins.isFunction value) service) config.services;
    hooks = config.git-hooks.hooks;
    formatters = config.treefmt;
    claude = config.claude.code;
  };
}
