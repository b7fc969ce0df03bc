# Projects: repositories that are registered, and what they are granted.
{ config, lib, ... }:
let
  cfg = config.services.kennel;
  inherit (lib) mkOption types;
  defaults = import ./defaults.nix lib;
  limits = import ./limit-options.nix { inherit lib; };

  file = what: mkOption {
    type = types.nullOr types.path;
    default = null;
    description = "A file with ${what}; root reads it.";
  };

  secrets = { secret = "secretFile"; token = "tokenFile"; ssh_key = "sshKeyFile"; };
  credential = name: key: "project-${name}-${key}";
  given = project: lib.filterAttrs (_: option: project.${option} != null) secrets;
in
{
  options.services.kennel.projects = mkOption {
    default = { };
    example = {
      shop = {
        url = "https://git.example.net/acme/shop.git";
        domains = [ "shop.example.net" ];
        limits.memoryMax = "512M";
      };
    };
    description = "Projects by their names. Others may be registered with `kennel projects add`.";
    type = types.attrsOf (types.submodule {
      options = {
        url = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = "What is cloned. null: the project is registered otherwise, and granted something here.";
        };
        forge = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "github";
          description = "The kind of its forge: forgejo, gitea or github.";
        };
        domains = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Custom domains it may use; *.example.org stands for one label.";
        };
        previews = mkOption {
          type = types.bool;
          default = true;
          description = "Whether pull requests, and branches other than main, staging and dev, are deployed.";
        };
        limits = limits.options;
        secretFile = file "the secret of its webhooks, instead of the shared one";
        tokenFile = file "the forge's token to clone it with, and to ask which pull requests are open";
        sshKeyFile = file "the key to clone it with";
      };
    });
  };

  config = lib.mkIf cfg.enable {
    assertions = lib.concatLists (lib.mapAttrsToList
      (name: project: [
        {
          assertion = builtins.match "[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?" name != null;
          message = ''
            services.kennel.projects.${name}: a project is called by 1 to 39 of a-z, 0-9 and -, such as shop. Rename it.
          '';
        }
        {
          assertion = project.tokenFile == null || project.sshKeyFile == null;
          message = ''
            services.kennel.projects.${name} has tokenFile and sshKeyFile, and is cloned with one of them: leave the
            other out.
          '';
        }
      ])
      cfg.projects);

    services.kennel = {
      credentials = lib.concatMapAttrs
        (name: project: lib.mapAttrs' (key: option: lib.nameValuePair (credential name key) project.${option}) (given project))
        cfg.projects;
      settings = defaults {
        projects = lib.mapAttrs
          (name: project: {
            inherit (project) url forge domains previews;
          } // limits.settings project.limits // lib.mapAttrs (key: _: "credential:${credential name key}") (given project))
          cfg.projects;
      };
    };
  };
}
