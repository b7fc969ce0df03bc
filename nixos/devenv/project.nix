# Whether anything is set up at all, and for what.
{ prefix }:
{ config, lib, ... }:
{
  options.${prefix} = {
    enable = lib.mkEnableOption "the shared development configuration; all other options take effect with it";

    project.name = lib.mkOption {
      type = lib.types.str;
      example = "shop";
      description = "The project's name: of its database, in filters of logs, and in the paths of its secrets.";
    };
  };

  config = lib.mkIf config.${prefix}.enable {
    treefmt.enable = true;
    git-hooks.hooks.treefmt.enable = true;
  };
}
