# What a flake declares, and the derivations of the packages it needs, in one evaluation.
#
# url: a locked reference to the flake. system: such as "x86_64-linux".
# wanted: the names of packages, or null to read them from the flake's own output `kennel`.
{ url, system, wanted }:
let
  flake = builtins.getFlake url;
  declared = flake.kennel or null;
  # `kennel` may stand under the name of a system, as helpers for flakes like to do.
  kennel = if builtins.isAttrs declared then declared.${system} or declared else declared;
  packages = (flake.packages or { }).${system} or { };

  # Errors of form are Kennel's to tell, so nothing here trips over them.
  attrs = value: if builtins.isAttrs value then value else { };
  packageOf = name: entry:
    builtins.head (builtins.filter builtins.isString [
      ((attrs entry).package or null)
      ((attrs entry).package_attr or null)
      name
    ]);
  packagesIn = key:
    let entries = attrs ((attrs kennel).${key} or null);
    in map (name: packageOf name entries.${name}) (builtins.attrNames entries);
  names =
    if wanted != null then wanted
    else builtins.concatMap packagesIn [ "services" "sites" "static_sites" ];

  describe = name:
    let package = packages.${name};
    in {
      inherit name;
      value =
        if !(packages ? ${name}) then null
        else if !(builtins.isAttrs package && package ? drvPath) then { derivation = null; }
        else {
          derivation = package.drvPath;
          output = package.outputName or "out";
          program = package.meta.mainProgram or null;
        };
    };
in
{
  inherit kennel;
  packages = builtins.listToAttrs (map describe names);
  there = builtins.attrNames packages;
  # What strings of `kennel`, such as arguments, refer to: it has to be built too.
  needs =
    if wanted != null || kennel == null then { }
    else builtins.getContext (builtins.toJSON kennel);
}
