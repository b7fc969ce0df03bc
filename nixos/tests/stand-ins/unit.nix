# Writes a service as systemd reads it, as NixOS would.
{ lib }:
name: service:
let
  shown = value: if value == true then "true" else if value == false then "false" else toString value;
  line = key: value:
    if value == null then [ ]
    else if builtins.isList value then map (one: "${key}=${shown one}") value
    else [ "${key}=${shown value}" ];
  section = title: set: [ "[${title}]" ] ++ builtins.concatLists (lib.mapAttrsToList line set);
  words = key: values: lib.optionalAttrs (values != [ ]) { ${key} = builtins.concatStringsSep " " values; };
  path = lib.optionalAttrs (service.path != [ ]) { PATH = lib.makeBinPath service.path; };
  environment = lib.mapAttrsToList (key: value: "\"${key}=${value}\"") (path // service.environment);
in
builtins.concatStringsSep "\n"
  (
    section "Unit"
      (service.unitConfig // { Description = service.description; }
      // words "After" service.after // words "Before" service.before
      // words "Wants" service.wants // words "Requires" service.requires)
    ++ [ "" ]
    ++ section "Service" ({ Environment = environment; } // service.serviceConfig)
    ++ [ "" ]
    ++ section "Install" (words "WantedBy" service.wantedBy // words "RequiredBy" service.requiredBy)
  ) + "\n"
