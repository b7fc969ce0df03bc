# Kennel with plugins: an environment of all of them, of which only the program is shown.
{ pkgs, python }:
let
  inherit (pkgs) lib;

  withPlugins = plugins:
    let
      chosen = map (plugin: plugin.kennelPlugin) (lib.unique plugins);
      set = python.set.overrideScope (lib.composeManyExtensions (map (plugin: plugin.overlay) chosen));
      wanted = { kennel = [ "postgresql" ]; } // lib.genAttrs (map (plugin: plugin.name) chosen) (_: [ ]);
      environment = set.mkVirtualEnv "kennel-environment" wanted;
    in
    pkgs.runCommand "kennel-${python.set.kennel.version}"
      {
        passthru = {
          inherit environment plugins;
          inherit (python) buildPlugin;
          withPlugins = choose: withPlugins (plugins ++ choose python.plugins);
        };
        meta = {
          description = "Push a branch, get a running copy of it";
          license = lib.licenses.mit;
          mainProgram = "kennel";
          platforms = lib.platforms.linux;
        };
      } ''
      mkdir -p $out/bin
      ln -s ${environment}/bin/kennel $out/bin/kennel

      # Every plugin is found, and can be imported.
      export HOME=$TMPDIR KENNEL_CONFIG=$TMPDIR/kennel.toml
      touch $KENNEL_CONFIG
      $out/bin/kennel plugins --json > plugins.json
      for name in ${lib.escapeShellArgs (lib.attrNames wanted)}; do
        grep -q "\"package\": \"$name\"" plugins.json || { echo "kennel does not find $name"; exit 1; }
      done
    '';
in
withPlugins
