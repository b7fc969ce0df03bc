# Secrets of projects, from OpenBao.
{ config, lib, ... }:
let
  cfg = config.services.kennel;
  defaults = import ./defaults.nix lib;
in
{
  options.services.kennel.secrets = {
    enable = lib.mkEnableOption "secrets of projects from OpenBao, at every start of a service";

    vaultEndpoint = lib.mkOption {
      type = lib.types.str;
      default = "https://secrets2.scottylabs.org";
      description = "Where OpenBao is. Kennel's token is VAULT_TOKEN in environmentFile.";
    };
  };

  config = lib.mkIf (cfg.enable && cfg.secrets.enable) {
    assertions = [
      {
        assertion = cfg.environmentFile != null;
        message = ''
          services.kennel.secrets.enable needs a token for OpenBao: set services.kennel.environmentFile to a file with
          VAULT_TOKEN.
        '';
      }
    ];
    services.kennel = {
      plugins = plugins: [ plugins.kennel-openbao ];
      settings = defaults {
        plugins.openbao = {
          address = cfg.secrets.vaultEndpoint;
          token = "env:VAULT_TOKEN";
        };
      };
    };
  };
}
