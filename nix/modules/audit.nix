# Subject: the record of what was executed.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.audit;
  audit = import ../lib/audit.nix { inherit policy; };
  # The option is younger than the module.
  auditctl = lib.getExe' (config.security.audit.package or pkgs.audit) "auditctl";

  rules = config.environment.etc."paranoid/audit.rules".source;
in
{
  options.paranoid.audit = {
    enable = lib.mkEnableOption ''
      the record of every program start (execve and execveat, 64 and 32 bit), of kernel
      modules, kexec and writing into other processes. Without it nobody can tell
      afterwards what ran. Costs some per cent of a machine that starts programs all the
      time, and journal space'';

    lock = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether the rules are locked until the next boot (`-e 2`), for root as well. A
        changed rule then takes effect at the next boot only.
      '';
    };

    daemon = lib.mkOption {
      type = lib.types.bool;
      default = true;
      example = false;
      description = ''
        Whether auditd keeps the records in /var/log/audit, beside the journal, which
        drops some kinds of them. Off saves the space, and leaves the journal alone.
      '';
    };

    rules = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "-a always,exit -F arch=b64 -S mount -F key=mount" ];
      description = ''
        Further rules, as auditctl(8) takes them. A watch (`-w`) on a path that isn't
        there yet fails to load.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    security.audit = {
      enable = if cfg.lock then "lock" else true;
      inherit (policy.audit) backlogLimit failureMode rateLimit;
      rules = audit.rules ++ cfg.rules;
    };

    security.auditd = lib.mkIf cfg.daemon {
      enable = true;
      settings = policy.audit.daemon;
    };

    # In /etc, for comparing what is loaded with what should be.
    environment.etc."paranoid/audit.rules".text = audit.text {
      inherit (cfg) lock;
      inherit (config.security.audit) rules;
    };

    systemd.services.audit-rules-nixos.serviceConfig = {
      # NixOS's own file stops at the first line that auditctl doesn't take, and then
      # none of the rules is there (nixpkgs#513202); this one goes on. That a line
      # failed, or that the rules are locked, doesn't fail this unit: failing, it would
      # switch audit off. The next one says it.
      ExecStart = lib.mkForce "-${auditctl} -R ${rules}";
      # And stopping a unit is no way to switch audit off.
      ExecStopPost = lib.mkForce [ ];
    };

    systemd.services.paranoid-audit-check = {
      description = "Check That the Audit Rules Are Loaded";
      wantedBy = [ "multi-user.target" ];
      after = [ "audit-rules-nixos.service" ];
      restartTriggers = [ rules ];
      unitConfig.ConditionVirtualization = "!container";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        CapabilityBoundingSet = "CAP_AUDIT_CONTROL";
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        RestrictAddressFamilies = "AF_NETLINK AF_UNIX";
      };
      script = ''
        loaded=$(${auditctl} -l)
        missing=
        for key in ${lib.escapeShellArgs audit.keys}; do
          case $loaded in
            *"key=$key"*) ;;
            *) missing="$missing $key" ;;
          esac
        done
        if [ -n "$missing" ]; then
          echo "audit: no rule is loaded with the key:$missing" >&2
          echo "see journalctl --unit=audit-rules-nixos" >&2
          exit 1
        fi
      '';
    };
  };
}
