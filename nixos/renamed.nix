# Options that are called otherwise now, or gone, with what to write instead.
{ lib, ... }:
let
  at = path: [ "services" "kennel" ] ++ path;
  renamed = from: to: lib.mkRenamedOptionModule (at from) (at to);
  removed = path: instead: lib.mkRemovedOptionModule (at path) instead;
in
{
  imports = [
    (renamed [ "garage" "enable" ] [ "resources" "garage" "enable" ])
    (renamed [ "garage" "adminTokenFile" ] [ "resources" "garage" "adminTokenFile" ])
    (renamed [ "garage" "rpcSecretFile" ] [ "resources" "garage" "server" "rpcSecretFile" ])
    (renamed [ "garage" "capacity" ] [ "resources" "garage" "server" "capacity" ])
    (renamed [ "valkey" "enable" ] [ "resources" "valkey" "enable" ])
    (renamed [ "valkey" "databases" ] [ "resources" "valkey" "databases" ])
    (renamed [ "valkey" "isolation" ] [ "resources" "valkey" "isolation" ])
    (renamed [ "valkey" "passwordFile" ] [ "resources" "valkey" "passwordFile" ])
    (removed [ "forgejo" "apiUrl" ] "Write services.kennel.settings.plugins.forgejo.api_url.")
    (removed [ "garage" "maxSize" ] "Write services.kennel.settings.plugins.garage.max_size.")
    (removed [ "valkey" "aclFile" ] "It is made of services.kennel.resources.valkey.passwordFile, or of a password that is made, too.")
    (removed [ "forgejo" "apiTokenFile" ] "Each project has a token of its own: services.kennel.projects.NAME.tokenFile.")
    (removed [ "domains" "cloudflare" "tunnelId" ] "Say where custom domains lead: services.kennel.domains.target = \"ID.cfargotunnel.com\".")
    (removed [ "customDomainsFile" ] "`kennel status --json` tells which hosts there are.")
    (removed [ "grafanaUrl" ] "Logs are in the journal, and `kennel logs` shows them.")
    (removed [ "user" ] "Kennel runs as the user kennel: the polkit rule knows it by that name.")
    (removed [ "group" ] "Kennel runs as the group kennel.")
  ];
}
