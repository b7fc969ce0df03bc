# What Kennel's modules use of nixpkgs' `lib`, for machines without nixpkgs. Behaves as the original does, as far as
# it is used, and is stricter where that finds mistakes. What is not in the original is not here either.
let
  lib = builtin
    // import ./lists.nix { inherit lib; }
    // import ./strings.nix { inherit lib; }
    // import ./packages.nix { inherit lib; }
    // import ./marks.nix { inherit lib; }
    // import ./modules.nix { inherit lib; }
    // import ./renames.nix { inherit lib; }
    // { types = import ./types.nix { inherit lib; }; };

  # Those of Nix's own functions that `lib` has, too: not `match`, for instance.
  builtin = {
    inherit (builtins) all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl'
      functionArgs getAttr hasAttr head isAttrs isBool isFunction isInt isList isString length listToAttrs mapAttrs
      pathExists readFile replaceStrings stringLength substring tail;
  };
in
lib
