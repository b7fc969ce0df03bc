{
  description = "Stands in for build-system-pkgs";

  outputs = _: {
    overlays.wheel = _: _: { };
  };
}
