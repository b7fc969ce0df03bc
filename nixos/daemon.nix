# The daemon: its programs, its secrets, where it listens.
{ config, lib, options, pkgs, ... }:
let
  cfg = config.services.kennel;
  inherit (lib) mkOption types;
  defaults = import ./defaults.nix lib;
in
{
  options.services.kennel = {
    enable = lib.mkEnableOption "the Kennel deployment platform";

    package = mkOption {
      type = types.package;
      description = "The kennel package to use.";
    };

    devenvPackage = mkOption {
      type = types.package;
      description = "The devenv package, which evaluates what a project's devenv.nix declares.";
    };

    plugins = mkOption {
      type = types.functionTo (types.listOf types.package);
      default = _: [ ];
      defaultText = lib.literalExpression "plugins: [ ]";
      example = lib.literalExpression "plugins: [ plugins.kennel-openbao inputs.mine.packages.x86_64-linux.kennel-mine ]";
      description = ''
        Chooses plugins: a function from those that come with Kennel to a list, in which those of others may be, too.
        What is enabled below resources, secrets and domains chooses its own. A plugin is on once
        settings.plugins.NAME is there.
      '';
    };

    finalPackage = mkOption {
      type = types.package;
      readOnly = true;
      default = if cfg.package ? withPlugins then cfg.package.withPlugins cfg.plugins else cfg.package;
      defaultText = lib.literalExpression "package.withPlugins plugins";
      description = "Kennel with its plugins.";
    };

    environmentFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/kennel.env";
      description = ''
        A file with variables that hold secrets, such as VAULT_TOKEN, CACHIX_AUTH_TOKEN, CLOUDFLARE_API_TOKEN and
        GARAGE_ADMIN_TOKEN. systemd reads it before the service starts.
      '';
    };

    webhookSecretFile = mkOption {
      type = types.path;
      example = "/run/secrets/kennel-webhook";
      description = "A file with the secret that forges sign webhooks with; root reads it.";
    };

    allow = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "acme/*" ];
      description = "Repositories whose first signed webhook registers them: OWNER/* or OWNER/NAME.";
    };

    api = {
      host = mkOption {
        type = types.str;
        default = "0.0.0.0";
        description = "The address that webhooks come in at. The firewall stays closed: Caddy passes them on.";
      };
      port = mkOption {
        type = types.port;
        default = 3000;
        description = "The port of it.";
      };
    };

    credentials = mkOption {
      type = types.attrsOf types.path;
      default = { };
      example = { garage-admin-token = "/run/secrets/garage-admin-token"; };
      description = "Files with secrets by the name that settings know them by, as credential:NAME; root reads them.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.package ? withPlugins || options.services.kennel.plugins.highestPrio >= 1500;
        message = ''
          services.kennel.package cannot be given the plugins that are chosen. Use kennel.packages.SYSTEM.kennel of
          Kennel's flake, or one with an attribute withPlugins.
        '';
      }
    ];

    environment.systemPackages = [ cfg.finalPackage ];
    environment.etc."kennel/kennel.toml".source = cfg.configFile; # where the command line looks

    services.kennel = {
      credentials.webhook-secret = cfg.webhookSecretFile;
      settings = defaults {
        state_dir = "/var/lib/kennel";
        run_dir = "/run/kennel";
        supervisor = "systemd";
        webhook_secret_file = "/run/credentials/kennel.service/webhook-secret";
        inherit (cfg) allow;
        web = { inherit (cfg.api) host port; };
        plugins.systemd.firewall = "required"; # nft is there, and so is the right to use it
      };
    };
  };
}
