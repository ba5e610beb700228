# Subject: the ssh daemon.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.sshd;
  sshd = import ../lib/sshd.nix {
    inherit policy;
    jumpHost = cfg.jumpHost.enable;
    inherit (cfg) olderKeys penalties;
  };
in
{
  imports = [ ./vpn.nix ];

  options.paranoid.sshd = {
    enable = lib.mkEnableOption ''
      the ssh daemon, with public keys as the only proof and nothing carried through
      a session. Passwords are guessed, forwarded ports walk around the firewall, and
      keys in home directories are written by whoever becomes that user. Breaks
      logins by password, `~/.ssh/authorized_keys`, sftp, agent and port forwarding,
      and clients older than OpenSSH 8.5'';

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = !(config.paranoid.vpn.enable && config.paranoid.vpn.sshOnly);
      defaultText = lib.literalExpression ''
        !(config.paranoid.vpn.enable && config.paranoid.vpn.sshOnly)
      '';
      example = false;
      description = ''
        Whether the port is open on every interface. NixOS opens it unless told
        otherwise, which makes a VPN-only daemon public.
      '';
    };

    sftp = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether files can be copied with sftp, and with scp of today, which uses it. Off,
        since it is a second service behind the same door.
      '';
    };

    olderKeys = lib.mkOption {
      type = lib.types.listOf (lib.types.enum (lib.attrNames policy.sshd.older));
      default = [ ];
      example = [ "rsa-2048" ];
      description = ''
        Kinds of keys that let somebody in beside the policy's: RSA of less than
        ${toString policy.sshd.settings.RequiredRSASize} bits, as EC2 makes them, and ECDSA. For an
        owner who cannot have another key; `paranoid-install verify` goes on to report it.
      '';
    };

    penalties = lib.mkOption {
      type = lib.types.nullOr lib.types.singleLineStr;
      default = null;
      example = "crash:90 authfail:1 noauth:0 max:60";
      description = ''
        For how long an address is refused after its sessions failed (PerSourcePenalties of
        sshd_config(5), in its words); null for not at all. Why not: whoever shares an address with
        the owner could keep the owner out, and a key cannot be guessed. With it, the consoles
        tell how the refused are let in again: `systemctl reload sshd` forgets all penalties and
        ends no session.
      '';
    };

    jumpHost = {
      enable = lib.mkEnableOption ''
        TCP forwarding from the client's side (`ssh -J`), for a machine that others
        are reached through. Whoever logs in can then open connections from inside the
        network; `paranoid.sshd.jumpHost.destinations` says to where'';
      destinations = lib.mkOption {
        type = lib.types.listOf (lib.types.strMatching "[^[:space:]]+:([0-9]+|\\*)");
        default = [ ];
        example = [
          "10.100.0.7:22"
          "db.internal:22"
        ];
        description = ''
          Hosts and ports that may be connected to through the machine (PermitOpen).
          With none, a jump host forwards to nothing.
        '';
      };
    };
  };

  config = lib.mkIf cfg.enable {
    # systemd offers sshd on sockets of its own as well (systemd-ssh-generator(8)): to
    # the hypervisor, and to local users. The firewall sees neither.
    boot.kernelParams = [ "systemd.ssh_auto=no" ];

    # Under the greeting of every console: whoever needs it has no other place to look it up.
    services.getty.helpLine = lib.mkIf (cfg.penalties != null) (
      lib.mkAfter "Refused by ssh after failed logins? Log in here: systemctl reload sshd"
    );

    # It is the way in: systemd must not give up on it after five failures within seconds, as it
    # does by itself, for whatever was in its way may pass.
    systemd.services.sshd = {
      unitConfig.StartLimitIntervalSec = lib.mkDefault 0;
      serviceConfig.RestartSec = lib.mkDefault 5;
    };

    services.openssh = {
      enable = true;
      ports = lib.mkDefault [ policy.sshd.port ];
      inherit (cfg) openFirewall;
      allowSFTP = cfg.sftp;
      # Straight from where they persist: a link in /etc is one more thing that has to
      # be there in time.
      inherit (sshd) hostKeys;
      authorizedKeysInHomedir = false;
      # NixOS adds its own.
      authorizedKeysFiles = lib.subtractLists policy.sshd.authorizedKeysFiles (
        sshd.authorizedKeysFiles
      );
      settings =
        sshd.settings
        // lib.optionalAttrs cfg.jumpHost.enable {
          PermitOpen =
            if cfg.jumpHost.destinations == [ ] then
              "none"
            else
              lib.concatStringsSep " " cfg.jumpHost.destinations;
        };
    };
  };
}
