{
  description = "Stands in for pyproject.nix: environments are names of packages, with the program of a real one";

  outputs = _: {
    # A set of Python packages that can be extended, with environments of some of them. They are empty but for
    # bin/kennel, which says what is in them.
    build.packages = { lib, runCommand, python }:
      let
        extended = overlay:
          let
            set = overlay (set // own) own;
            own = {
              inherit python;
              overrideScope = other: extended (lib.composeManyExtensions [ overlay other ]);
              mkVirtualEnv = name: wanted:
                let
                  missing = lib.filter (package: !(set ? ${package})) (lib.attrNames wanted);
                  found = lib.filter (package: set.${package}.isFound or true) (lib.attrNames wanted);
                  plugins = lib.concatMapStringsSep "\n" (package: ''{"package": "${package}"},'') found;
                in
                if missing != [ ] then throw "${name}: there is no package ${toString missing}"
                else
                  runCommand name { passthru = { inherit wanted; }; } ''
                    mkdir -p $out/bin
                    printf '#!/bin/sh\ncat <<"X"\n%s\nX\n' ${lib.escapeShellArg plugins} > $out/bin/kennel
                    chmod +x $out/bin/kennel
                  '';
            };
          in
          own // set;
      in
      extended (_: _: { });
  };
}
