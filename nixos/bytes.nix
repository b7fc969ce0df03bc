# Sizes: bytes, or a text such as "512M".
{ lib }:
let
  units = { "" = 1; K = 1024; M = 1024 * 1024; G = 1024 * 1024 * 1024; T = 1024 * 1024 * 1024 * 1024; };
in
{
  type = lib.types.either lib.types.ints.positive (lib.types.strMatching "[1-9][0-9]{0,12}[KMGT]?");

  count = size:
    if !lib.isString size then size
    else
      let parts = builtins.match "([0-9]+)([KMGT]?)" size;
      in lib.toInt (lib.head parts) * units.${lib.last parts};
}
