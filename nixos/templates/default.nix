# Where to begin: `nix flake init -t github:ScottyLabs/kennel#project`, or `#plugin`.
rec {
  project = {
    path = ./project;
    description = "A project that Kennel deploys: a service with a database, and a site";
    welcomeText = "Push it to a repository that Kennel knows. README.md says what is where.";
  };
  plugin = {
    path = ./plugin;
    description = "A plugin for Kennel: a folder for every tenant";
    welcomeText = "`uv run pytest` runs its tests. README.md says what to change.";
  };
  default = project;
}
