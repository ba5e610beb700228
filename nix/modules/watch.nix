# Subject: programs that were executed from outside the store.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (import ../types.nix { inherit lib; }) runtimePath;
  units = import ../lib/units.nix { inherit policy; };
  cfg = config.paranoid.watch;
  inherit (policy.watch) service;
  stateDirectory = "/var/lib/${service.StateDirectory}";

  arguments = [
    "watch"
    "--quiet"
    "--journal"
    # What is started while it is not there, at boot or in an update, is read afterwards.
    "--resume"
    "${stateDirectory}/cursor"
  ]
  ++ lib.concatMap (path: [
    "--allow-path"
    path
  ]) cfg.allowPaths
  ++ lib.concatMap (unit: [
    "--allow-unit"
    unit
  ]) cfg.allowUnits
  ++ lib.optionals (cfg.file != null) [
    "--file"
    cfg.file
  ]
  ++ lib.optionals (cfg.webhook != null) [
    "--webhook"
    cfg.webhook
  ];
in
{
  options.paranoid.watch = {
    enable = lib.mkEnableOption ''
      the service that reads the audit records and reports what was executed from outside
      the store, scripts handed to an interpreter included: what noexec mounts can't stop'';

    package = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = pkgs.paranoid-install or null;
      defaultText = lib.literalExpression "pkgs.paranoid-install or null";
      example = lib.literalExpression "pkgs.paranoid-install";
      description = ''
        The package of paranoid-install, whose `watch` command the service runs. Null where
        the package set has none; the profile then leaves the service out.
      '';
    };

    allowPaths = lib.mkOption {
      type = lib.types.listOf (lib.types.strMatching "/.*");
      default = [ ];
      example = [ "/srv/runner/bin/" ];
      description = ''
        Programs outside the store that may run, or with a slash at the end directories of
        them: the fewer, the more a report says. What NixOS itself runs from elsewhere
        (/run/wrappers, the initrd, builds) is known.
      '';
    };

    allowUnits = lib.mkOption {
      type = lib.types.listOf (lib.types.strMatching ".+\\.(service|scope)");
      default = [ ];
      example = [ "runner.service" ];
      description = "Units in which anything may be executed, for lack of a narrower exception.";
    };

    webhook = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "https://.+");
      default = null;
      example = "https://alerts.example.org/paranoid";
      description = ''
        Address that alerts are posted to as JSON. It stands in the store, where everybody
        reads it; what is secret about it goes into `webhookTokenFile`.
      '';
    };

    webhookTokenFile = lib.mkOption {
      type = lib.types.nullOr runtimePath;
      default = null;
      example = "/nix/persist/etc/watch/token";
      description = ''
        File with the token that alerts are posted with. Without one anybody who knows the
        address can post false alerts. Root reads it for the service.
      '';
    };

    file = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "${stateDirectory}/.+");
      default = null;
      example = "${stateDirectory}/alerts.jsonl";
      description = ''
        File that alerts are written to as well, below ${stateDirectory}, where alone the
        service can write. They are in the journal in any case.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.package != null;
        message = ''
          paranoid.watch: the package set has no paranoid-install. Set paranoid.watch.package to
          the package of this project's flake, or switch off paranoid.watch.
        '';
      }
      {
        assertion = config.security.audit.enable != false;
        message = ''
          paranoid.watch: nothing is audited, so there is nothing to watch. Switch on
          paranoid.audit, or switch off paranoid.watch.
        '';
      }
      {
        assertion = cfg.webhookTokenFile != null -> cfg.webhook != null;
        message = ''
          paranoid.watch: webhookTokenFile is set, and no webhook to send the token to. Set
          paranoid.watch.webhook, or remove the file.
        '';
      }
    ];

    # Who is told of something wants to look: `paranoid-install verify`.
    environment.systemPackages = lib.optional (cfg.package != null) cfg.package;

    systemd.services.paranoid-watch = lib.mkIf (cfg.package != null) {
      description = "Watch for Programs From Outside the Store";
      wantedBy = [ "multi-user.target" ];
      after = [ "systemd-journald.service" ];
      # journalctl and what starts it, and `true`, which is the test of a silent trail.
      path = [
        pkgs.bash
        pkgs.coreutils
        config.systemd.package
      ];
      # It never gives up: an alarm that has stopped is what an intruder wants.
      unitConfig.StartLimitIntervalSec = 0;
      serviceConfig =
        units.sets.service
        // service
        // {
          ExecStart =
            utils.escapeSystemdExecArgs ([ (lib.getExe cfg.package) ] ++ arguments)
            # Not escaped: systemd puts the directory of the credentials in for %d.
            + lib.optionalString (cfg.webhookTokenFile != null) " --webhook-token-file %d/token";
          Restart = "always";
          RestartSec = 5;
        }
        // lib.optionalAttrs (cfg.webhook != null) {
          IPAddressDeny = [ ];
          RestrictAddressFamilies = service.RestrictAddressFamilies ++ [
            "AF_INET"
            "AF_INET6"
          ];
        }
        // lib.optionalAttrs (cfg.webhookTokenFile != null) {
          LoadCredential = "token:${cfg.webhookTokenFile}";
        };
    };
  };
}
