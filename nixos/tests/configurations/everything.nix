# Everything that Kennel's module can turn on.
{ kennel, ... }:
{
  imports = [ kennel.nixosModules.default ];

  services.kennel = {
    enable = true;
    package = kennel.packages.x86_64-linux.kennel;
    devenvPackage = kennel.packages.x86_64-linux.devenv;
    plugins = plugins: [ plugins.kennel-openbao ];
    webhookSecretFile = "/run/secrets/webhook";
    environmentFile = "/run/secrets/kennel.env";
    allow = [ "acme/*" ];
    api = { host = "127.0.0.1"; port = 3100; };
    domain = "kennel.example.net";
    domains = {
      ephemeral = "preview.example.net";
      target = "203.0.113.7";
      cloudflare = {
        zones."example.org" = "0123456789abcdef0123456789abcdef";
        tokenFile = "/run/secrets/cloudflare";
      };
    };
    caddy.adminUrl = "unix//run/caddy/admin.sock";
    closedPorts = [ 9090 ];
    builder = {
      maxConcurrentBuilds = 4;
      workDir = "/srv/builds";
      cachix = {
        enable = true;
        cacheName = "acme";
        publicKey = "acme.cachix.org-1:AAAA";
        tokenFile = "/run/secrets/cachix";
      };
    };
    resources = {
      postgres.enable = true;
      valkey.enable = true;
      garage = {
        enable = true;
        adminTokenFile = "/run/secrets/garage-admin-token";
        server = { enable = true; rpcSecretFile = "/run/secrets/garage-rpc-secret"; };
      };
    };
    limits = { memoryMax = "1G"; cpuWeight = 200; tasksMax = 1024; };
    environments.preview = { sleepAfter = "12h"; memoryMax = 268435456; };
    previews = { expireAfter = "14d"; memoryMax = "16G"; approvalLabel = "may be built"; };
    projects = {
      shop = {
        url = "https://git.example.net/acme/shop.git";
        domains = [ "shop.example.org" ];
        previews = false;
        limits.memoryMax = "2G";
        secretFile = "/run/secrets/shop-webhook";
        tokenFile = "/run/secrets/shop-token";
      };
      engine = { url = "git@github.com:acme/engine.git"; forge = "github"; sshKeyFile = "/run/secrets/engine-key"; };
    };
    settings = {
      web.requests_per_minute = 600;
      services.cpu_weight = 300; # wins over limits.cpuWeight
      plugins.postgres.connections = 10;
    };
  };
}
