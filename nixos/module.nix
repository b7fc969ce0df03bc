# Kennel on NixOS: services.kennel. Each file here is about one thing, and holds its options and what they do; a
# plugin's are with the plugin. docs/nixos.md tells how to use it.
{
  imports = [
    ./daemon.nix
    ./settings.nix
    ./unit.nix
    ./polkit.nix
    ./caddy.nix
    ./dns.nix
    ./builder.nix
    ./limits.nix
    ./projects.nix
    ./secrets.nix
    ./renamed.nix
    ../plugins/kennel_postgres/module.nix
    ../plugins/kennel_valkey/module.nix
    ../plugins/kennel_garage/module.nix
  ];
}
