# Makes defaults of kennel.toml's keys from a set of them, so that services.kennel.settings wins, key by key. What is
# null or empty is left out.
lib:
let
  stated = set: lib.filterAttrs (_: value: value != { })
    (lib.mapAttrs (_: value: if lib.isAttrs value then stated value else lib.mkDefault value)
      (lib.filterAttrs (_: value: value != null) set));
in
stated
