# Subject: how the machine starts.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (import ../types.nix { inherit lib; }) runtimePath;
  cfg = config.paranoid.boot;
  bios = cfg.firmware == "bios";
in
{
  options.paranoid.boot = {
    enable = lib.mkEnableOption ''
      the boot loader that fits the disk as it was laid out: GRUB on BIOS, systemd-boot
      on UEFI, which is put where every firmware looks and changes no firmware variable.
      Nobody may edit a boot entry, since `init=/bin/sh` is a root shell'';

    firmware = lib.mkOption {
      type = lib.types.enum [
        "bios"
        "uefi"
      ];
      default = "bios";
      example = "uefi";
      description = ''
        What starts the machine. It decides the partition table, the file system of
        /boot and the boot loader, so it has to be what the machine was installed with.
      '';
    };

    device = lib.mkOption {
      type = lib.types.strMatching "nodev|/dev/.+";
      default = "nodev";
      example = "/dev/vda";
      description = ''
        The disk whose first sector GRUB is written to at each switch, on BIOS. With
        `nodev` the menu is written and the sector is left to the installer, which alone
        knows the disk that an image ends up on.
      '';
    };

    configurationLimit = lib.mkOption {
      type = lib.types.ints.positive;
      default = 5;
      example = 10;
      description = ''
        Generations that the menu offers. Each needs its kernel and initrd on /boot, and
        a full /boot makes the next switch fail.
      '';
    };

    passwordFile = lib.mkOption {
      type = lib.types.nullOr runtimePath;
      default = null;
      example = "/nix/persist/etc/grub.pbkdf2";
      description = ''
        File with a hash by `grub-mkpasswd-pbkdf2`, on BIOS. GRUB can't switch its editor
        off; it can ask for a password before it, and before any entry but the first
        (older generations, break-glass). Null leaves the editor open to whoever is at
        the console. systemd-boot's editor is off in any case.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !bios -> cfg.device == "nodev";
        message = ''
          paranoid.boot: device is ${cfg.device}, but on UEFI nothing is written to a disk's first
          sector. Leave it at "nodev".
        '';
      }
      {
        assertion = !bios -> cfg.passwordFile == null;
        message = ''
          paranoid.boot: passwordFile is for GRUB, which boots BIOS machines. Leave it null on
          UEFI, where systemd-boot has no editor to protect.
        '';
      }
    ];

    boot.loader = {
      grub = {
        enable = bios;
        devices = lib.mkIf bios [ cfg.device ];
        inherit (cfg) configurationLimit;
        users = lib.mkIf (cfg.passwordFile != null) { root.hashedPasswordFile = cfg.passwordFile; };
      };
      systemd-boot = {
        enable = !bios;
        editor = false;
        inherit (cfg) configurationLimit;
      };
      efi = {
        canTouchEfiVariables = false;
        efiSysMountPoint = policy.layout.boot.mountPoint;
      };
    };
  };
}
