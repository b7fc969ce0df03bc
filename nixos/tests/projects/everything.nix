# Everything that can be turned on, and values that would trip over a shell.
{ inputs, ... }:
{
  imports = [ inputs.scottylabs.devenvModules.default ];

  scottylabs = {
    enable = true;
    project.name = "shop";
    rust.enable = true;
    rust.cranelift.excludePackages = [ "ring" ];
    bun.enable = true;
    postgres.enable = true;
    postgres.extensions = e: [ e.pg_uuidv7 ];
    valkey.enable = true;
    garage.enable = true;
    sqlite.enable = true;
    secrets = { enable = true; host = "bao.example.net"; profile = "dev"; };
    kennel = {
      services = {
        api = { };
        worker.settings = { port = false; environment.GREETING = "it's $HOME \"quoted\" \\ `date`"; };
        nightly.settings = { schedule = "daily"; previews = false; };
      };
      sites = { docs.spa = true; www.customDomain = "www.example.org"; };
      settings.release = { service = "api"; args = [ "migrate" "--note" "don't" ]; };
    };
  };

  processes = {
    api = { exec = "api"; ready.http.get = { port = 8080; }; };
    worker = { exec = "worker"; ready.exec = "true"; };
    nightly.exec = "nightly";
  };
}
