# The machine of every story: Kennel, and a forge that is a bare repository whose hook delivers webhooks.
{ config, lib, pkgs, ... }:
let
  secret = "${pkgs.writeText "webhook-secret" "the secret of a test"}";
  forge = "/srv/forge/acme/shop.git";

  # What Forgejo says of a repository with every webhook.
  repository = {
    id = 7;
    name = "shop";
    full_name = "acme/shop";
    owner = { id = 1; login = "acme"; full_name = ""; email = ""; username = "acme"; };
    description = "";
    empty = false;
    private = false;
    fork = false;
    parent = null;
    mirror = false;
    html_url = "https://forge.test/acme/shop";
    ssh_url = "git@forge.test:acme/shop.git";
    clone_url = "https://forge.test/acme/shop.git";
    default_branch = "main";
    archived = false;
    object_format_name = "sha1";
  };
  webhook = pkgs.writeText "webhook.json" (builtins.toJSON {
    url = "http://127.0.0.1:${toString config.services.kennel.api.port}/webhook";
    secret_file = secret;
    inherit repository;
    pulls."1" = { head = "proposal"; title = "A proposal"; base = "0000000000000000000000000000000000000000"; };
  });

  # A service of a project: it says what it is, and which of the variables that it is asked for are set.
  service = pkgs.writeText "api" ''
    #!${lib.getExe pkgs.python3}
    import os
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            known = os.environ.get(self.path[1:], "")
            body = ("ok" if self.path == "/health" else known or "GREETING").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Api).serve_forever()
  '';

  # Without inputs, so that it builds on a machine without a network: Nix itself links the files of a folder.
  project = pkgs.writeText "flake.nix" ''
    {
      outputs = { self }: {
        packages.${pkgs.stdenv.hostPlatform.system}.api = derivation {
          name = "api";
          system = "builtin";
          builder = "builtin:buildenv";
          derivations = [ "true" "5" "1" "''${./api}" ];
          manifest = builtins.toFile "manifest.nix" "[ ]";
        };
        kennel = {
          version = 1;
          services.api.ready.path = "/health";
          resources = [ RESOURCES ];
        };
      };
    }
  '';
in
{
  services.kennel = {
    enable = true;
    webhookSecretFile = secret;
    domain = "kennel.test";
    domains.ephemeral = "preview.test";
    projects.shop.url = forge;
    settings = {
      plugins.caddy.tls = "internal";
      reconcile.every = 2;
    };
  };
  services.caddy.virtualHosts."kennel.test".extraConfig = "tls internal";

  networking.hosts."127.0.0.1" = [ "kennel.test" "shop-main.preview.test" "shop-pr-1.preview.test" ];
  nix.settings.substituters = lib.mkForce [ ];
  environment.systemPackages = [ pkgs.curl pkgs.git ];
  environment.variables = { GIT_AUTHOR_NAME = "Ada"; GIT_AUTHOR_EMAIL = "ada@example.org"; GIT_COMMITTER_NAME = "Ada"; GIT_COMMITTER_EMAIL = "ada@example.org"; };
  system.extraDependencies = [ pkgs.python3 ];
  virtualisation = { memorySize = 3072; diskSize = 4096; cores = 2; };

  systemd.services.forge = {
    description = "A forge: a bare repository, and a clone of it with a project";
    wantedBy = [ "multi-user.target" ];
    before = [ "kennel.service" ];
    path = [ pkgs.git ];
    environment.HOME = "/root";
    serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
    script = ''
      [ ! -e ${forge} ] || exit 0 # the machine was started again
      git init --quiet --bare --initial-branch=main ${forge}
      cp ${webhook} ${forge}/webhook.json
      printf '#!/bin/sh\nexec %s -m kennel.cli.demo.webhook\n' \
        ${config.services.kennel.finalPackage.environment}/bin/python > ${forge}/hooks/post-receive
      chmod +x ${forge}/hooks/post-receive

      mkdir -p /srv/shop/api/bin
      git init --quiet --initial-branch=main /srv/shop
      git -C /srv/shop remote add origin ${forge}
      cp ${project} /srv/shop/flake.nix
      cp ${service} /srv/shop/api/bin/api
      chmod -R u+w /srv/shop
      chmod +x /srv/shop/api/bin/api
    '';
  };
}
