# Garage in development; in production Kennel gives each ref a bucket, under the same variables.
{ prefix }:
{ config, lib, ... }:
let
  top = config.${prefix};
  name = top.project.name;
  region = "garage";
  # Of a server on the developer's own machine, which nobody else reaches: no secret.
  key = "GK${lib.substring 0 24 (builtins.hashString "sha256" name)}";
  secret = builtins.hashString "sha256" "the secret of ${name}";
in
{
  options.${prefix}.garage.enable = lib.mkEnableOption "a local Garage with a bucket, and S3_BUCKET";

  config = lib.mkIf (top.enable && top.garage.enable) {
    services.garage = {
      enable = true;
      inherit region;
      buckets = [ name ];
      afterStart = ''
        $GARAGE key import --yes -n ${lib.escapeShellArg name} ${key} ${secret} >/dev/null 2>&1 || true
        $GARAGE bucket allow --read --write ${lib.escapeShellArg name} --key ${key}
      '';
    };
    env = {
      S3_ENDPOINT = config.env.GARAGE_S3_ENDPOINT;
      S3_BUCKET = name;
      S3_REGION = region;
      AWS_ENDPOINT_URL_S3 = config.env.GARAGE_S3_ENDPOINT;
      AWS_REGION = region;
      AWS_DEFAULT_REGION = region;
      AWS_ACCESS_KEY_ID = key;
      AWS_SECRET_ACCESS_KEY = secret;
    };
  };
}
