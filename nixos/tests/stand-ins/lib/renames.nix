# Options that are called otherwise now, or are gone.
{ lib }:
{
  mkRenamedOptionModule = from: to: { options, ... }:
    let
      option = lib.getAttrFromPath from options;
      target = lib.getAttrFromPath to options;
    in
    {
      options = lib.setAttrByPath from (lib.mkOption { inherit (target) type; visible = false; });
      config = lib.mkIf option.isDefined (lib.mkMerge [
        (lib.setAttrByPath to (lib.mkMerge option.definitions))
        {
          warnings = [
            "The option `${lib.showOption from}' has been renamed to `${lib.showOption to}'."
          ];
        }
      ]);
    };

  mkRemovedOptionModule = path: instead: { options, ... }:
    let option = lib.getAttrFromPath path options;
    in {
      options = lib.setAttrByPath path (lib.mkOption {
        type = lib.types.raw;
        visible = false;
        apply = _: throw "The option `${lib.showOption path}' is gone. ${instead}";
      });
      config.assertions = [
        {
          assertion = !option.isDefined;
          message = "The option definition `${lib.showOption path}' no longer has any effect; please remove it. ${instead}";
        }
      ];
    };
}
