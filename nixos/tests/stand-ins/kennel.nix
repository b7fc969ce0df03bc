# Kennel's package, with its plugins as names: the real one takes nixpkgs to build. program: what its `kennel` is.
{ program ? "/pkgs/kennel/bin/kennel" }:
let
  plugin = name: { type = "derivation"; inherit name; outPath = "/pkgs/${name}"; };
  offered = builtins.listToAttrs (map (name: { inherit name; value = plugin name; })
    [ "kennel-cloudflare" "kennel-garage" "kennel-openbao" "kennel-postgres" "kennel-valkey" ]);
  with' = plugins: {
    type = "derivation";
    name = "kennel";
    version = "0.1.0";
    outPath = builtins.replaceStrings [ "/bin/kennel" ] [ "" ] program;
    meta.mainProgram = "kennel";
    inherit plugins;
    withPlugins = choose: with' (choose offered);
  };
in
with' [ ]
