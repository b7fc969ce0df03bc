# Valkey on this machine, for Kennel: one server on a socket that everybody may connect to and nobody gets into without
# a password; or, with `isolation = "instance"`, none: Kennel starts one for each tenant.
{ config, lib, pkgs, ... }:
let
  kennel = config.services.kennel;
  cfg = kennel.resources.valkey;
  shared = cfg.isolation == "database";
  folder = builtins.match "/run/([^/]+)/[^/]+" (toString cfg.socketPath);
  state = "/var/lib/kennel-valkey";
  given = cfg.passwordFile != null;
in
{
  options.services.kennel.resources.valkey = {
    enable = lib.mkEnableOption "a Valkey database for every tenant that asks for one";

    socketPath = lib.mkOption {
      type = lib.types.path;
      default = "/run/valkey/valkey.sock";
      description = "The server's socket.";
    };

    createLocally = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether to set up a server for it. Otherwise the plugin's README says what one needs.";
    };

    isolation = lib.mkOption {
      type = lib.types.enum [ "database" "instance" ];
      default = "database";
      description = "Whether a tenant gets a database of one server, or a server.";
    };

    databases = lib.mkOption {
      type = lib.types.ints.between 2 1048576;
      default = 4096;
      description = "How many there are: one for each tenant, and the first is nobody's.";
    };

    passwordFile = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = "/run/secrets/valkey-password";
      description = ''
        A file with the password of the server's user kennel, of letters and digits; root reads it. null: one is made
        for the server that is set up here, in ${state}.
      '';
    };

    package = lib.mkPackageOption pkgs "valkey" { };
  };

  config = lib.mkIf (kennel.enable && cfg.enable) (lib.mkMerge [
    { services.kennel.plugins = plugins: [ plugins.kennel-valkey ]; }

    (lib.mkIf (!shared) {
      services.kennel.settings.plugins.valkey = {
        isolation = lib.mkDefault "instance";
        program = lib.mkDefault (lib.getExe' cfg.package "valkey-server");
      };
    })

    (lib.mkIf shared {
      assertions = [
        {
          assertion = cfg.createLocally || given;
          message = ''
            services.kennel.resources.valkey.createLocally is false, so the server's password is not known: set
            services.kennel.resources.valkey.passwordFile.
          '';
        }
      ];
      services.kennel = {
        credentials.valkey-password = if given then cfg.passwordFile else "${state}/password";
        settings.plugins.valkey = {
          socket = lib.mkDefault (toString cfg.socketPath);
          user = lib.mkDefault "kennel";
          password = lib.mkDefault "credential:valkey-password";
        };
      };
    })

    (lib.mkIf (shared && cfg.createLocally) {
      assertions = [
        {
          assertion = folder != null;
          message = ''
            services.kennel.resources.valkey.socketPath is ${toString cfg.socketPath}: the folder of the socket of a server
            that is set up here has to be one of /run, such as "/run/valkey/valkey.sock".
          '';
        }
      ];

      services.redis.package = lib.mkDefault cfg.package;
      services.redis.servers.kennel = {
        enable = true;
        port = 0;
        unixSocket = toString cfg.socketPath;
        unixSocketPerm = 666; # services run as users that are made when they start
        databases = cfg.databases;
        appendOnly = lib.mkDefault true;
        settings.aclfile = "/run/credentials/redis-kennel.service/users.acl";
      };

      systemd.services.kennel-valkey-password = {
        description = "Write down who may use the Valkey of Kennel's tenants";
        before = [ "redis-kennel.service" "kennel.service" ];
        requiredBy = [ "redis-kennel.service" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          UMask = "0077";
          StateDirectory = "kennel-valkey";
          StateDirectoryMode = "0700";
          LoadCredential = lib.optional given "password:${toString cfg.passwordFile}";
        };
        script = ''
          cd "$STATE_DIRECTORY"
          ${if given then ''cp "$CREDENTIALS_DIRECTORY/password" password'' else ''
            if [ ! -s password ]; then
              od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > password.new
              mv password.new password
            fi
          ''}
          printf 'user default off\nuser kennel on >%s ~* &* +@all\n' "$(cat password)" > users.acl.new
          mv users.acl.new users.acl
        '';
      };

      systemd.services.redis-kennel.serviceConfig = {
        RuntimeDirectory = lib.mkForce (lib.unique ([ "redis-kennel" ] ++ lib.optionals (folder != null) folder));
        RuntimeDirectoryMode = lib.mkForce "0755";
        LoadCredential = [ "users.acl:${state}/users.acl" ];
      };

      systemd.services.kennel = {
        wants = [ "redis-kennel.service" ];
        after = [ "redis-kennel.service" ];
      };
    })
  ]);
}
