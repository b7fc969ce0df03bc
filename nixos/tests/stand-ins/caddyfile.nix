# Writes a Caddyfile, as NixOS would.
{ lib }:
caddy:
let indented = text: builtins.replaceStrings [ "\n" ] [ "\n\t" ] (lib.removeSuffix "\n" text);
in
''
  {
  ${"\t"}${indented caddy.globalConfig}
  }
'' + builtins.concatStringsSep "" (lib.mapAttrsToList
  (name: host: ''

    ${name} {
    ${"\t"}${indented host.extraConfig}
    }
  '')
  caddy.virtualHosts)
