# The Caddy that traffic comes in through: it serves Kennel's own address, and Kennel adds those of projects.
{ config, lib, ... }:
let
  cfg = config.services.kennel;
  caddy = config.services.caddy;
  inherit (lib) mkOption types;
  defaults = import ./defaults.nix lib;

  socket = builtins.match "unix/(/.+)" cfg.caddy.adminUrl;
  address = builtins.match "http://([^/:]+|\\[[0-9a-f:]+]):([0-9]+)/?" cfg.caddy.adminUrl;
  listens = if socket != null then "${cfg.caddy.adminUrl}|0660" else lib.concatStringsSep ":" address;
  own = if lib.elem cfg.api.host [ "0.0.0.0" "::" "" ] then "127.0.0.1" else cfg.api.host;
  host = if lib.hasInfix ":" own then "[${own}]" else own;
  folder = builtins.match "/run/([^/]+)/[^/]+" (lib.head socket);
in
{
  options.services.kennel = {
    domain = mkOption {
      type = types.str;
      default = "kennel.scottylabs.org";
      description = "Where Kennel itself is: forges deliver to https://DOMAIN/webhook.";
    };

    domains.ephemeral = mkOption {
      type = types.str;
      default = "scottylabs.net";
      description = "Every ref gets PROJECT-REF below it; a DNS wildcard points it here.";
    };

    caddy = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether to set up services.caddy and open ports 80 and 443. Otherwise that is yours to do.";
      };

      adminUrl = mkOption {
        type = types.str;
        default = "http://localhost:2019";
        example = "unix//run/caddy/admin.sock";
        description = ''
          Where Caddy's admin API is. Whoever reaches it commands all traffic: on a socket only Caddy and Kennel do; a
          port is closed to services by Kennel.
        '';
      };
    };

    closedPorts = mkOption {
      type = types.listOf types.port;
      default = [ ];
      example = [ 9090 ];
      description = "Ports of this machine that services and builds of projects may not reach.";
    };
  };

  config = lib.mkIf cfg.enable (lib.mkMerge [
    {
      assertions = [
        {
          assertion = socket != null || address != null;
          message = ''
            services.kennel.caddy.adminUrl is ${cfg.caddy.adminUrl}, which is neither a port nor a socket. Write
            "http://localhost:2019" or "unix//run/caddy/admin.sock".
          '';
        }
      ];
      services.kennel = {
        closedPorts = lib.optional (address != null) (lib.toInt (lib.elemAt address 1));
        settings = defaults {
          domains.ephemeral = cfg.domains.ephemeral;
          plugins.caddy.admin = lib.removeSuffix "/" cfg.caddy.adminUrl;
          plugins.systemd.deny_local_ports = if cfg.closedPorts == [ ] then null else lib.unique cfg.closedPorts;
        };
      };
    }

    (lib.mkIf caddy.enable {
      systemd.services.kennel = {
        wants = [ "caddy.service" ];
        after = [ "caddy.service" ];
        serviceConfig.SupplementaryGroups = [ caddy.group ];
      };
      services.kennel.settings = defaults { plugins.caddy.group = caddy.group; };
    })

    (lib.mkIf cfg.caddy.enable {
      assertions = [
        {
          assertion = lib.versionAtLeast caddy.package.version "2.8";
          message = ''
            Kennel needs Caddy 2.8 or newer, and services.caddy.package is ${caddy.package.version}. Set it to a newer one.
          '';
        }
        {
          assertion = caddy.settings == { };
          message = ''
            services.caddy.settings takes the place of the virtual hosts that services.kennel declares. Say the same with
            services.caddy.virtualHosts and globalConfig, or set services.kennel.caddy.enable = false and serve
            ${cfg.domain} yourself.
          '';
        }
        {
          assertion = socket == null || folder != null;
          message = ''
            services.kennel.caddy.adminUrl is ${cfg.caddy.adminUrl}: the socket's folder has to be one of /run, such as
            "unix//run/caddy/admin.sock", so that it is made with the rights of Caddy.
          '';
        }
      ];
      services.caddy = {
        enable = true;
        globalConfig = "admin ${listens}";
        virtualHosts.${cfg.domain}.extraConfig = "reverse_proxy http://${host}:${toString cfg.api.port}";
      };
      systemd.services.caddy.serviceConfig = lib.mkIf (socket != null && folder != null) {
        RuntimeDirectory = lib.head folder;
        RuntimeDirectoryMode = "0750";
      };
      networking.firewall = {
        allowedTCPPorts = [ 80 443 ];
        allowedUDPPorts = [ 443 ]; # HTTP/3
      };
    })
  ]);
}
