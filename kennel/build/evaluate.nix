# What a flake declares, told in a trace, and the derivations of all it needs, to be built at once.
#
# url: a locked reference to the flake. system: such as "x86_64-linux".
# wanted: the names of packages, or null to read them from the flake's own output `kennel`.
# mark: begins the trace; the flake does not know it.
{ url, system, wanted, mark }:
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
  release = (attrs ((attrs kennel).release or null)).package or null;
  names =
    if wanted != null then wanted
    else builtins.concatMap packagesIn [ "services" "sites" "static_sites" ]
      ++ builtins.filter builtins.isString [ release ];

  isDerivation = package: builtins.isAttrs package && package ? drvPath;
  describe = name:
    let package = packages.${name};
    in {
      inherit name;
      value =
        if !(packages ? ${name}) then null
        else if !(isDerivation package) then { derivation = null; }
        else {
          derivation = package.drvPath;
          path = package.outPath;
          program = package.meta.mainProgram or null;
        };
    };

  # What strings of `kennel`, such as arguments, refer to has to be there too.
  needs =
    if wanted != null || kennel == null then { }
    else builtins.getContext (builtins.toJSON kennel);
  outputsOf = derivation:
    map (output: {
      type = "derivation";
      name = "needed";
      drvPath = derivation;
      outputName = output;
    }) (needs.${derivation}.outputs or [ ]);

  answer = {
    inherit kennel;
    packages = builtins.listToAttrs (map describe names);
    there = builtins.attrNames packages;
    sources = builtins.filter (path: needs.${path}.path or false) (builtins.attrNames needs);
  };
in
builtins.trace "${mark} ${builtins.unsafeDiscardStringContext (builtins.toJSON answer)}" (
  builtins.filter isDerivation (map (name: packages.${name} or null) names)
  ++ builtins.concatMap outputsOf (builtins.attrNames needs)
)
