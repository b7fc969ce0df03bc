# The devenv.nix of the guide for those who deploy a project.
{ pkgs, config, inputs, ... }:
{
  imports = [ inputs.scottylabs.devenvModules.default ];

  scottylabs = {
    enable = true;
    project.name = "my-project";
  };

  scottylabs.kennel.services.api = {
    customDomain = "api.my-project.scottylabs.org";
  };

  processes.api = {
    exec = "${pkgs.my-project}/bin/api";
    ready.http.get = { port = 8080; path = "/health"; };
  };

  scottylabs.kennel.sites.docs = {
    spa = false;
  };

  scottylabs.postgres.enable = true;
}
