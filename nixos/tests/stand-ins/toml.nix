# Writes TOML: enough for kennel.toml. Returns a function from a set to a text.
{ lib }:
let
  inherit (builtins) attrNames concatStringsSep filter isAttrs isList match toJSON;
  key = name: if match "[A-Za-z0-9_-]+" name != null then name else toJSON name;
  value = it:
    if isList it then "[${lib.concatMapStringsSep ", " value it}]"
    else if isAttrs it then "{ ${concatStringsSep ", " (lib.mapAttrsToList (name: of: "${key name} = ${value of}") it)} }"
    else toJSON it;
  table = path: set:
    let
      names = attrNames set;
      plain = filter (name: !isAttrs set.${name}) names;
      deeper = filter (name: isAttrs set.${name}) names;
      lines = map (name: "${key name} = ${value set.${name}}") plain;
      heading = lib.optional (path != [ ] && (lines != [ ] || deeper == [ ])) "\n[${lib.concatMapStringsSep "." key path}]";
    in
    heading ++ lines ++ builtins.concatMap (name: table (path ++ [ name ]) set.${name}) deeper;
in
set: concatStringsSep "\n" (table [ ] set) + "\n"
