# Images of one host, made with the installer, as image variants of NixOS:
#   nixos-rebuild build-image --image-variant paranoid-raw
# and `system.build.images` build them. Each carries, or is, the very system that the
# host's configuration describes.
{ lib, ... }:

let
  inherit (lib) mkOption types;

  # A medium that installs the host on machines of either kind of firmware.
  medium =
    module: file:
    {
      config,
      extendModules,
      lib,
      modulesPath,
      pkgs,
      ...
    }:
    let
      host = import ./of-host.nix {
        inherit
          config
          extendModules
          lib
          pkgs
          ;
      };
      installer = host.installerWith [
        module
        {
          paranoid.image.systems = map (firmware: (host.configFor firmware).system.build.toplevel) [
            "bios"
            "uefi"
          ];
        }
      ];
    in
    {
      imports = [ (modulesPath + "/image/file-options.nix") ];
      image = file installer;
      system.build.image = lib.recursiveUpdate installer.system.build.medium {
        passthru = { inherit installer; };
      };
    };
in
{
  options.paranoid.images = {
    installer = mkOption {
      type = types.deferredModule;
      default = { };
      example.paranoid.image.sshKeys = [ "ssh-ed25519 AAAAC3Nza... root@console" ];
      description = ''
        Settings of the auto-install image that installs this host, beside those that follow from
        the host itself. Why apart: the live system and the host are two configurations.
      '';
    };

    disk = {
      size = mkOption {
        type = types.ints.positive;
        default = 8192;
        example = 16384;
        description = ''
          Size of disk images in MiB. Why no smaller: after its first update the store holds two
          generations of the system.
        '';
      };
      format = mkOption {
        type = types.enum [
          "raw"
          "qcow2"
        ];
        default = "raw";
        example = "qcow2";
        description = "What the disk image is. Why raw: it is what clouds import.";
      };
      memory = mkOption {
        type = types.ints.positive;
        default = 3072;
        example = 8192;
        description = ''
          Memory, in MiB, of the virtual machine that installs the disk image. Why it matters:
          the volatile root of the installation lies in it.
        '';
      };
    };
  };

  config.image.modules = {
    paranoid-iso = medium ./iso.nix (installer: {
      inherit (installer.image) baseName extension filePath;
    });
    paranoid-netboot = medium ./netboot.nix (installer: {
      inherit (installer.image) baseName;
      extension = "ipxe";
      filePath = "netboot.ipxe";
    });
    paranoid-raw = ./disk-image.nix;
    paranoid-ami = {
      imports = [
        ./disk-image.nix
        ./ec2.nix
      ];
      # Whatever the host's own machine has: all instances of today boot so, and only so can
      # they have a TPM.
      paranoid.boot.firmware = lib.mkForce "uefi";
      paranoid.boot.device = lib.mkForce "nodev";
    };
  };
}
