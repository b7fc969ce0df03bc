# kennel.service, the user it runs as, and the slice of what it starts.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.kennel;
  keepsApart = (cfg.settings.plugins.systemd.firewall or "auto") != "off";
  # To write one table of nftables; nothing else is left of what root may do.
  capabilities = lib.optional keepsApart "CAP_NET_ADMIN";
in
{
  config = lib.mkIf cfg.enable {
    users.users.kennel = {
      isSystemUser = true;
      group = "kennel";
      home = "/var/lib/kennel";
    };
    users.groups.kennel = { };

    boot.kernelModules = lib.optional keepsApart "nf_tables";

    systemd.slices.kennel.description = "What Kennel runs: services of projects, and builds";

    systemd.tmpfiles.rules = [ "d ${cfg.builder.workDir} 0700 kennel kennel -" ];

    systemd.services.kennel = {
      description = "Kennel, which deploys what is pushed";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" "dbus.service" "nix-daemon.socket" ];
      # Services go on while Kennel is away: nothing is gained by stopping it before the new system is there.
      stopIfChanged = false;
      path = [
        config.nix.package
        config.systemd.package
        pkgs.git
        pkgs.nftables
        pkgs.openssh
        pkgs.util-linux
      ];
      serviceConfig = {
        Type = "notify";
        ExecStart = "${lib.getExe cfg.finalPackage} --config ${cfg.configFile} serve";
        Restart = "always";
        RestartSec = 2;
        WatchdogSec = 60;
        KillMode = "mixed"; # Kennel ends its builds in order
        LimitNOFILE = 65536;

        User = "kennel";
        Group = "kennel";
        SupplementaryGroups = [ "systemd-journal" ];
        StateDirectory = "kennel";
        StateDirectoryMode = "0750";
        RuntimeDirectory = "kennel";
        RuntimeDirectoryPreserve = true; # services and Caddy go on with what is in it
        ReadWritePaths = lib.optional (!lib.hasPrefix "/var/lib/kennel/" cfg.builder.workDir) cfg.builder.workDir;
        EnvironmentFile = lib.optional (cfg.environmentFile != null) cfg.environmentFile;
        LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.credentials;

        AmbientCapabilities = capabilities;
        CapabilityBoundingSet = if capabilities == [ ] then "" else capabilities;
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        RemoveIPC = true;
        RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
        RestrictNamespaces = true;
        RestrictRealtime = true; # RestrictSUIDSGID is not for us: git marks folders that are for a group
        LockPersonality = true;
        KeyringMode = "private";
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
        SystemCallErrorNumber = "EPERM";
      };
    };
  };
}
