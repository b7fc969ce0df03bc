# What is tried on a real systemd: as little as possible beside the defaults.
_:
{
  imports = [ ./minimal.nix ];

  services.kennel = {
    domain = "kennel.test";
    domains.ephemeral = "preview.test";
    projects.shop.url = "/srv/forge/acme/shop.git";
    settings = {
      plugins.caddy.tls = "internal";
      reconcile.every = 1;
    };
  };
  services.caddy.globalConfig = "skip_install_trust";
  services.caddy.virtualHosts."kennel.test".extraConfig = "tls internal";
}
