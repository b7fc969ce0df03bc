# What developers of a project import into devenv.nix: `scottylabs.*`. Each file holds some options and what they do.
#
# prefix: what they are below; for another organisation `devenvModule { prefix = "acme"; }`, and in kennel.toml
# [build] devenv_option = "acme.kennel.config". Returns a module.
{ prefix ? "scottylabs" }:
{
  imports = map (file: import file { inherit prefix; }) [
    ./project.nix
    ./kennel.nix
    ./postgres.nix
    ./valkey.nix
    ./garage.nix
    ./sqlite.nix
    ./secrets.nix
    ./rust.nix
    ./bun.nix
    ./claude.nix
  ];
}
