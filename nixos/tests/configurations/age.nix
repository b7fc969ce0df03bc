# What agenix would add for the example: secrets are files.
{ lib, ... }:
{
  options.age.secrets = lib.mkOption {
    type = lib.types.attrsOf (lib.types.submodule ({ name, ... }: {
      options.path = lib.mkOption {
        type = lib.types.path;
        default = "/run/agenix/${name}";
      };
    }));
  };
  config.age.secrets = {
    kennel = { };
    kennel-webhook = { };
  };
}
