# Rust.
{ prefix }:
{ config, lib, pkgs, ... }:
let
  top = config.${prefix};
  cfg = top.rust;
  rust = config.languages.rust;
in
{
  options.${prefix}.rust = {
    enable = lib.mkEnableOption "nightly Rust with cranelift, clippy, rustfmt and crate2nix";

    cranelift.excludePackages = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "aws-lc-sys" "aws-lc-rs" "rustls" ];
      description = "Crates that LLVM compiles, because they use what cranelift does not have.";
    };
  };

  config = lib.mkIf (top.enable && cfg.enable) {
    packages = [ pkgs.crate2nix pkgs.openssl pkgs.pkg-config ];
    env.RUST_LOG = "${lib.replaceStrings [ "-" ] [ "_" ] top.project.name}=debug";

    languages.rust = {
      enable = true;
      channel = "nightly";
      components = [ "cargo" "clippy" "llvm-tools-preview" "rust-analyzer" "rust-src" "rustc" "rustfmt" ];
      cranelift = {
        enable = true;
        forceBuildScriptsLlvm = true;
        inherit (cfg.cranelift) excludePackages;
      };
    };

    treefmt.config.programs.rustfmt.enable = true;

    git-hooks.hooks = {
      clippy = {
        enable = true;
        packageOverrides = { cargo = rust.toolchainPackage; clippy = rust.toolchainPackage; };
      };
      # Cargo.nix is what the flake builds from: it goes with every change of what it is made of.
      cargo-nix-update = {
        enable = true;
        name = "cargo-nix-update";
        files = "(^|/)Cargo\\.(toml|lock)$";
        pass_filenames = false;
        entry = toString (pkgs.writeShellScript "cargo-nix-update" ''
          set -e
          ${lib.getExe pkgs.crate2nix} generate
          git add Cargo.nix
        '');
      };
    };
  };
}
