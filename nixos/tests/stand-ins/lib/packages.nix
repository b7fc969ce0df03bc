# Packages and their programs.
{ lib }:
rec {
  isDerivation = value: builtins.isAttrs value && value.type or null == "derivation";
  getExe = package: getExe' package (package.meta.mainProgram or (throw "${package.name} has no meta.mainProgram"));
  getExe' = package: name: "${package}/bin/${name}";
  getVersion = package: package.version or (builtins.parseDrvName package.name).version;
  makeBinPath = packages: lib.concatMapStringsSep ":" (package: "${package}/bin") packages;
  licenses.mit = { spdxId = "MIT"; };
  platforms.linux = [ "aarch64-linux" "x86_64-linux" ];
  composeManyExtensions = overlays: final: previous:
    builtins.foldl' (done: overlay: done // overlay final (previous // done)) { } overlays;
  makeExtensible = f: let self = f self; in self;
}
