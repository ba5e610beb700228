# A paranoid host as an EC2 instance. Of NixOS's own EC2 profile nothing is used: it runs
# what the instance's user data says as root, and brings an agent that opens shells.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkOption types;

  cfg = config.paranoid.ec2;
  policy = import ../nix/lib/policy.nix;
  keys = import ../nix/lib/keys.nix;
  judged = import ../nix/lib/access.nix { inherit policy; } config;
  inherit (judged) accepts;
  label = "/dev/disk/by-label/${policy.layout.nix.label}";

  # Link-local addresses of the instance metadata service and of the time service
  # (Amazon EC2 user guide, "instance metadata service" and "set the time reference").
  metadata = {
    ipv4 = "169.254.169.254";
    ipv6 = "fd00:ec2::254";
  };
  time = "169.254.169.123";
in
{
  options.paranoid.ec2 = {
    keysFromMetadata = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Whether root's keys are taken from the instance metadata service (version 2, with a
        session token) at each boot. Why not by default: whoever may start instances of this
        image then also decides who gets into them.
      '';
    };

    metadataForRootOnly = mkOption {
      type = types.bool;
      default = true;
      example = false;
      description = ''
        Whether only root's processes reach the instance metadata service. Why: a web service that
        can be talked into fetching an address otherwise hands out the instance's credentials.
        Services of their own users that need the instance's role need it off.
      '';
    };
  };

  config = {
    boot.initrd.availableKernelModules = [
      "nvme"
      "xen_blkfront"
    ];
    boot.kernelModules = [ "ena" ];
    boot.kernelParams = [
      "console=ttyS0,115200n8"
      # EBS answers late rather than never: Amazon's guide asks for the largest value.
      "nvme_core.io_timeout=4294967295"
    ];
    boot.loader.timeout = lib.mkDefault 1;

    networking.timeServers = [ time ];

    assertions = [
      {
        assertion = cfg.keysFromMetadata -> judged.rootReadsDisk;
        message = ''
          paranoid.ec2.keysFromMetadata: the keys of the instance are root's, and root does not get in
          with them: ${judged.why}. Let root in (services.openssh.settings.PermitRootLogin), and
          sshd read ${policy.layout.persist.authorizedKeys}.
        '';
      }
    ];

    paranoid.amnesia.keysFrom = lib.mkIf cfg.keysFromMetadata "the instance metadata service";

    # A volume is larger than the image that it was made from.
    systemd.services.paranoid-grow-nix = {
      description = "Grow the partition and file system of /nix to the end of the volume";
      wantedBy = [ "multi-user.target" ];
      path = [
        pkgs.cloud-utils.guest
        pkgs.e2fsprogs
        pkgs.util-linux
      ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        PrivateNetwork = true;
        ProtectHome = true;
      };
      script = ''
        partition=$(readlink --canonicalize-existing ${label})
        block=$(readlink --canonicalize-existing "/sys/class/block/''${partition##*/}")
        disk=$(dirname "$block")
        # growpart ends with 1 when there is nothing to grow.
        growpart "/dev/''${disk##*/}" "$(cat "$block/partition")" || [ $? = 1 ]
        resize2fs "$partition"
      '';
    };

    systemd.services.paranoid-ec2-keys = lib.mkIf cfg.keysFromMetadata {
      description = "Take root's keys from the instance metadata service";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      path = [
        pkgs.curl
        pkgs.openssh
      ];
      serviceConfig = {
        # Where nobody can log in, the console is all that can be read from outside.
        StandardError = "journal+console";
        Type = "oneshot";
        RemainAfterExit = true;
        NoNewPrivileges = true;
        ProtectHome = true;
        ProtectSystem = "strict";
        ReadWritePaths = [ policy.layout.persist.authorizedKeys ];
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
        IPAddressDeny = "any";
        IPAddressAllow = [
          metadata.ipv4
          metadata.ipv6
        ];
      };
      environment = {
        KEYS = "${policy.layout.persist.authorizedKeys}/root";
        # The second for instances without an IPv4 address.
        METADATA = "http://${metadata.ipv4}/latest http://[${metadata.ipv6}]/latest";
        TYPES = toString (keys.typesOf accepts);
        RSA_BITS = toString accepts.rsaBits;
      };
      script = builtins.readFile ./ec2-keys;
    };

    systemd.tmpfiles.settings.paranoid-ec2 = lib.mkIf cfg.keysFromMetadata {
      ${policy.layout.persist.authorizedKeys}.d.mode = "0755";
    };

    networking.nftables.tables.paranoid-ec2 = lib.mkIf cfg.metadataForRootOnly {
      family = "inet";
      content = ''
        chain output {
          type filter hook output priority filter; policy accept;
          ip daddr ${metadata.ipv4} meta skuid != 0 drop
          ip6 daddr ${metadata.ipv6} meta skuid != 0 drop
        }
      '';
    };
    networking.nftables.enable = lib.mkIf cfg.metadataForRootOnly true;
  };
}
