# kennel.toml, from options and from services.kennel.settings. A file that Kennel would refuse does not build.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.kennel;
  toml = pkgs.formats.toml { };
  written = toml.generate "kennel.toml" cfg.settings;
in
{
  options.services.kennel = {
    settings = lib.mkOption {
      type = toml.type;
      default = { };
      example = { services.memory_max = 536870912; plugins.systemd.local_ports = "closed"; };
      description = ''
        What kennel.toml says, as docs/configuration.md has it. What is here wins over every other option.
      '';
    };

    configFile = lib.mkOption {
      type = lib.types.path;
      readOnly = true;
      default = pkgs.runCommand "kennel-checked.toml" { } ''
        ${lib.getExe cfg.finalPackage} check-config --elsewhere ${written}
        cp ${written} $out
      '';
      defaultText = "kennel.toml, once `kennel check-config` has found it good";
      description = "The kennel.toml in use.";
    };
  };
}
