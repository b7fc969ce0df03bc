# What Kennel's modules use of nixpkgs' `lib`, for machines without nixpkgs. Behaves as the original does, as far as
# it is used, and is stricter where that finds mistakes.
let
  lib = builtins
    // import ./lists.nix { inherit lib; }
    // import ./strings.nix { inherit lib; }
    // import ./packages.nix { inherit lib; }
    // import ./marks.nix { inherit lib; }
    // import ./modules.nix { inherit lib; }
    // import ./renames.nix { inherit lib; }
    // { types = import ./types.nix { inherit lib; }; };
in
lib
