# Claude Code, which finds devenv's own server of the Model Context Protocol in .mcp.json.
{ prefix }:
{ config, lib, ... }:
let top = config.${prefix};
in
{
  options.${prefix}.claude.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether to set up Claude Code: .mcp.json names devenv's server.";
  };

  config = lib.mkIf (top.enable && top.claude.enable) {
    claude.code = {
      enable = true;
      mcpServers.devenv = {
        type = "stdio";
        command = "devenv";
        args = [ "mcp" ];
        env.DEVENV_ROOT = config.devenv.root;
      };
    };
  };
}
