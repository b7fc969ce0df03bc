# Kennel's module is there, and off.
{ kennel, ... }:
{
  imports = [ kennel.nixosModules.default ];
}
