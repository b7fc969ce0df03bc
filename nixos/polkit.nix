# The right to start and stop units that are called as Kennel calls them: see polkit.js, and docs/nixos.md for what it
# does not keep out.
{ config, lib, ... }:
let
  cfg = config.services.kennel;
  version = config.systemd.package.version;
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = lib.versionAtLeast version "257";
        message = ''
          services.kennel needs systemd 257 or newer, and this is ${version}: an older one does not tell polkit which
          unit is to be started, so that Kennel's user would have the right to start any. Use NixOS 25.05 or newer.
        '';
      }
    ];
    security.polkit = {
      enable = true;
      extraConfig = lib.readFile ./polkit.js;
    };
  };
}
