# Secrets in development, from the same store as in production.
{ prefix }:
{ config, lib, pkgs, ... }:
let
  top = config.${prefix};
  cfg = top.secrets;
  inherit (lib) mkOption types;
  there = "${config.devenv.root}/secretspec.toml";
  provider = "openbao://${cfg.host}/secret";
in
{
  options.${prefix}.secrets = {
    enable = lib.mkEnableOption "secrets from secretspec.toml in the shell, and the bao command to log in with";

    host = mkOption {
      type = types.str;
      default = "secrets2.scottylabs.org";
      description = "The host of OpenBao: BAO_ADDR and SECRETSPEC_PROVIDER are made of it.";
    };

    profile = mkOption {
      type = types.str;
      default = "dev";
      description = "The profile of secretspec.toml for local development.";
    };

    file = mkOption {
      type = types.nullOr types.path;
      default = if lib.pathExists there then /. + there else null;
      defaultText = "secretspec.toml at the project's root, if there is one";
      description = "What the project declares of secrets.";
    };
  };

  config = lib.mkIf (top.enable && cfg.enable) {
    packages = [ pkgs.openbao pkgs.secretspec ];
    env = {
      BAO_ADDR = "https://${cfg.host}";
      SECRETSPEC_PROVIDER = provider;
      SECRETSPEC_PROFILE = cfg.profile;
    };
    # devenv looks secrets up before it reads this, so only devenv.yaml can turn that on.
    enterShell = lib.mkIf (!config.secretspec.enable) ''
      echo >&2 "Secrets are not in this shell. Put this into devenv.yaml, and log in with 'bao login -method=oidc':"
      echo >&2 "  secretspec: { enable: true, provider: '${provider}', profile: '${cfg.profile}' }"
    '';
  };
}
