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
