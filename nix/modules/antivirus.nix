# Subject: scanning for known malware.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.antivirus;
  inherit (config.services.clamav) package;

  scan = utils.escapeSystemdExecArgs (
    [
      (lib.getExe' package "clamscan")
      "--recursive"
      "--infected"
      "--suppress-ok-results"
      "--database=${policy.antivirus.databaseDirectory}"
    ]
    ++ map (pattern: "--exclude-dir=${pattern}") policy.antivirus.exclude
    ++ cfg.directories
  );
in
{
  options.paranoid.antivirus = {
    enable = lib.mkEnableOption ''
      ClamAV, with signatures that are kept up to date and a scan that runs by the clock:
      PCI DSS asks for that, and a scanner that is only installed finds nothing. A scan
      takes about 1.5 GB of memory while it runs, and the signatures a few hundred MB of
      /var/lib. Findings are in the journal (`journalctl -u paranoid-antivirus`), and the
      unit fails'';

    directories = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = policy.antivirus.scan;
      example = [ "/srv" ];
      description = ''
        Directories to scan: all that can be written to. The store isn't among them; Nix
        checks it by hashes (`nix-store --verify --check-contents`).
      '';
    };

    calendar = lib.mkOption {
      type = lib.types.str;
      default = policy.antivirus.scanCalendar;
      example = "Sun 03:00";
      description = ''
        When to scan, as systemd.time(7) takes it; PCI DSS asks for a period that fits the
        risk.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    services.clamav.updater = {
      enable = true;
      interval = policy.antivirus.updateCalendar;
      frequency = policy.antivirus.updatesPerDay;
    };

    systemd.services.paranoid-antivirus = {
      description = "Scan for Known Malware";
      after = [ "clamav-freshclam.service" ];
      # Before the first signatures have arrived there is nothing to scan by.
      unitConfig.ConditionDirectoryNotEmpty = policy.antivirus.databaseDirectory;
      serviceConfig = {
        Type = "oneshot";
        ExecStart = scan;
        # It reads every file, and does nothing else.
        CapabilityBoundingSet = "CAP_DAC_READ_SEARCH";
        Nice = 19;
        IOSchedulingClass = "idle";
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateNetwork = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        ProcSubset = "pid";
        # Parts of large archives are unpacked here.
        RuntimeDirectory = "paranoid-antivirus";
        Environment = "TMPDIR=/run/paranoid-antivirus";
        RestrictAddressFamilies = "none";
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        LockPersonality = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
        UMask = "0077";
      };
    };

    systemd.timers.paranoid-antivirus = {
      description = "Scan for Known Malware, by the Clock";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = cfg.calendar;
        # A machine that was off at the time makes up for it.
        Persistent = true;
        RandomizedDelaySec = "15min";
      };
    };
  };
}
