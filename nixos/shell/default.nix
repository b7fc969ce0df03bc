# What people who work on Kennel need: `scripts/setup` finds it there.
{ pkgs, ... }:
{
  default = pkgs.mkShellNoCC {
    packages = [
      # alone: the names of its other programs are taken
      (pkgs.runCommand "busybox-alone" { } "mkdir -p $out/bin; ln -s ${pkgs.busybox}/bin/busybox $out/bin/")
      pkgs.caddy
      pkgs.curl
      pkgs.dbus
      pkgs.duktape
      pkgs.git
      pkgs.iproute2
      pkgs.nftables
      pkgs.openssh
      pkgs.postgresql
      pkgs.python313
      pkgs.util-linux
      pkgs.uv
      pkgs.valkey
    ];
    env.UV_PYTHON_DOWNLOADS = "never";
  };
}
