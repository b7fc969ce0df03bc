# A plugin of somebody else's: its package is chosen, its table is written, its unit is waited for.
_:
let
  package = { type = "derivation"; name = "kennel-example"; outPath = "/pkgs/kennel-example"; };
in
{
  imports = [ ./minimal.nix ];

  services.kennel = {
    plugins = plugins: [ plugins.kennel-valkey package ];
    resources.postgres.enable = true;
    settings.plugins.example.folder = "/srv/databases";
  };
  systemd.services.kennel.serviceConfig.ReadWritePaths = [ "/srv/databases" ];
}
