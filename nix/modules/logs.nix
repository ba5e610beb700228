# Subject: logs, kept and sent away.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (import ../types.nix { inherit lib; }) runtimePath;
  inherit (policy) logs;
  cfg = config.paranoid.logs;
  ships = cfg.shipper != "none";

  show =
    value:
    if value == true then
      "yes"
    else if value == false then
      "no"
    else
      toString value;
  # Those that NixOS has options of its own for.
  hasOption = [
    "Audit"
    "ForwardToSyslog"
    "RateLimitBurst"
    "RateLimitIntervalSec"
    "Storage"
  ];
  journal = removeAttrs logs.journal hasOption;

  files = {
    key = cfg.keyFile;
    certificate = cfg.certificateFile;
    ca = cfg.trustedCertificateFile;
  };
  # Root reads them for the service, which may be a user that comes and goes.
  credentials = lib.mapAttrsToList (name: file: "${name}:${toString file}") files;
  credential = unit: name: "/run/credentials/${unit}.service/${name}";

  certificate =
    example: description:
    lib.mkOption {
      type = lib.types.nullOr runtimePath;
      default = null;
      inherit example description;
    };
in
{
  options.paranoid.logs = {
    enable = lib.mkEnableOption ''
      a journal that persists and is bounded, and that is sent off the machine as soon as a
      collector is named: whoever becomes root can erase what is on the machine, and nothing
      of what has left it. At a power cut the last
      ${logs.journal.SyncIntervalSec} of the journal are lost, and with them what had not
      been sent; urgent messages (crit and above) are written at once'';

    shipper = lib.mkOption {
      type = lib.types.enum [
        "none"
        "journal-upload"
        "vector"
      ];
      default = "none";
      example = "vector";
      description = ''
        What sends the journal, the audit records in it included. `vector` keeps what it
        couldn't send on the disk and is the better one over a bad line; `journal-upload` is
        systemd's own, sends every field as it is, and starts again from where it stopped.
      '';
    };

    url = lib.mkOption {
      type = lib.types.str;
      default = "";
      example = "https://logs.example.org:19532";
      description = ''
        The collector, over https: systemd-journal-remote, or what takes JSON by POST.
      '';
    };

    keyFile = certificate "/nix/persist/etc/logs/key.pem" ''
      The machine's private key, by which the collector knows it. PEM; root reads it.
    '';
    certificateFile = certificate "/nix/persist/etc/logs/certificate.pem" ''
      The machine's certificate, which belongs to the key. PEM.
    '';
    trustedCertificateFile = certificate "/nix/persist/etc/logs/ca.pem" ''
      The authority that signed the collector's certificate. Without it anybody on the way
      could take the logs. PEM.
    '';
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        services.journald = {
          storage = logs.journal.Storage;
          rateLimitInterval = toString logs.journal.RateLimitIntervalSec;
          rateLimitBurst = logs.journal.RateLimitBurst;
          forwardToSyslog = logs.journal.ForwardToSyslog;
          audit = logs.journal.Audit;
          extraConfig = lib.concatLines (
            lib.mapAttrsToList (key: value: "${key}=${show value}") journal
          );
        };

        assertions = lib.optionals ships (
          [
            {
              assertion = lib.hasPrefix "https://" cfg.url;
              message = ''
                paranoid.logs: url is "${cfg.url}", and logs leave the machine over https only. Set
                paranoid.logs.url to the collector's https:// address.
              '';
            }
          ]
          ++ lib.mapAttrsToList (name: file: {
            assertion = file != null;
            message = ''
              paranoid.logs: the ${name} file is missing. Both sides prove who they are: set
              paranoid.logs.keyFile, certificateFile and trustedCertificateFile.
            '';
          }) files
        );
      }
      (lib.mkIf ships {
        # Silence and peace look alike from afar; a line by the clock tells them apart.
        systemd.services.${logs.heartbeat.identifier} = {
          description = "A Line for the Log Collector";
          serviceConfig = {
            Type = "oneshot";
            ExecStart = "${lib.getExe' pkgs.coreutils "echo"} alive";
            SyslogIdentifier = logs.heartbeat.identifier;
            DynamicUser = true;
            PrivateNetwork = true;
            ProtectHome = true;
            CapabilityBoundingSet = "";
          };
        };
        systemd.timers.${logs.heartbeat.identifier} = {
          description = "A Line for the Log Collector, by the Clock";
          wantedBy = [ "timers.target" ];
          timerConfig.OnCalendar = logs.heartbeat.calendar;
        };
      })
      (lib.mkIf (cfg.shipper == "journal-upload") {
        services.journald.upload = {
          enable = true;
          settings.Upload = {
            URL = cfg.url;
            ServerKeyFile = credential "systemd-journal-upload" "key";
            ServerCertificateFile = credential "systemd-journal-upload" "certificate";
            TrustedCertificateFile = credential "systemd-journal-upload" "ca";
            inherit (logs.upload) NetworkTimeoutSec;
          };
        };
        systemd.services.systemd-journal-upload = {
          # It exits when the collector can't be reached, as often as that takes.
          unitConfig.StartLimitIntervalSec = 0;
          serviceConfig = {
            LoadCredential = credentials;
            RestartSec = lib.mkForce logs.upload.restartSec;
          };
        };
      })
      (lib.mkIf (cfg.shipper == "vector") {
        services.vector = {
          enable = true;
          journaldAccess = true;
          settings = {
            data_dir = logs.vector.dataDirectory;
            sources.journal.type = "journald";
            sinks.collector = {
              type = "http";
              inputs = [ "journal" ];
              uri = cfg.url;
              encoding.codec = "json";
              framing.method = "newline_delimited";
              tls = {
                key_file = credential "vector" "key";
                crt_file = credential "vector" "certificate";
                ca_file = credential "vector" "ca";
              };
              # A full buffer makes the source wait; nothing is thrown away.
              buffer = {
                type = "disk";
                max_size = logs.vector.bufferBytes;
                when_full = "block";
              };
              acknowledgements.enabled = true;
            };
          };
        };
        systemd.services.vector = {
          unitConfig.StartLimitIntervalSec = lib.mkForce 0;
          serviceConfig = {
            LoadCredential = credentials;
            # It opens no port.
            AmbientCapabilities = lib.mkForce "";
            CapabilityBoundingSet = "";
          };
        };
      })
    ]
  );
}
