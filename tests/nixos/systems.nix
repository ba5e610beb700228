# What the lab builds: machines as the installer writes them, and the images that install them.
{
  nixpkgs,
  impermanence,
  # Public key of the tests' operator.
  key,
}:
let
  outputs = import ../../nix/outputs.nix { inherit nixpkgs impermanence; };

  machine =
    modules:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        outputs.nixosModules.default
        outputs.nixosModules.images
        { nixpkgs.hostPlatform = "x86_64-linux"; }
      ]
      ++ modules;
    };

  # As installer/paranoid_install/configuration.py writes it, but for the disk, which an image
  # does not know.
  host = {
    networking.hostName = "paranoid";
    paranoid.enable = true;
    paranoid.amnesia.size = "2G";
    paranoid.boot.firmware = "uefi";
    # The image brings them.
    paranoid.access.keysOnDisk = [ "root" ];
    system.stateVersion = "26.05";
    # Minutes less, and some MiB more.
    paranoid.images.installer.isoImage.squashfsCompression = "zstd -Xcompression-level 3";
    paranoid.images.installer.paranoid.image = {
      sshKeys = [ key ];
      answers.countdown = 3;
      consoles = [
        "tty0"
        "ttyS0,115200n8"
      ];
    };
  };

  # The same with a change of each kind that a rebuild has to carry out.
  changed = {
    boot.kernel.sysctl."net.ipv4.ip_default_ttl" = 63;
    users.users.newcomer = {
      isNormalUser = true;
      description = "came with a rebuild";
    };
    paranoid.services.beat = {
      description = "Service that came with a rebuild";
      script = "while true; do echo beat; sleep 1h; done";
      network = false;
    };
  };

  toplevels =
    modules:
    let
      built = machine (modules ++ [ host ]);
      ofHost = import ../../iso/of-host.nix {
        inherit (built) config extendModules pkgs;
        inherit (built.pkgs) lib;
      };
    in
    {
      bios = (ofHost.configFor "bios").system.build.toplevel;
      uefi = (ofHost.configFor "uefi").system.build.toplevel;
    };
  inherit ((machine [ host ]).config.system.build) images;
in
{
  inherit (toplevels [ ]) bios uefi;
  # As the installer writes it on an image file, with what nixos-generate-config found: all that
  # Debian's files have to be laid out for, so that a build in Nix's sandbox has it.
  written =
    (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        outputs.nixosModules.default
        {
          fileSystems."/boot" = {
            device = "/dev/disk/by-label/boot";
            fsType = "ext4";
          };
          hardware.enableAllHardware = true;
          hardware.enableRedistributableFirmware = true;
          networking.hostName = "paranoid";
          nixpkgs.hostPlatform = "x86_64-linux";
          paranoid.access.keysOnDisk = [ "root" ];
          paranoid.amnesia.size = "2G";
          paranoid.boot.device = "nodev";
          paranoid.boot.firmware = "bios";
          paranoid.enable = true;
          paranoid.nix.buildOnMachine = true;
          system.stateVersion = "26.05";
        }
      ];
    }).config.system.build.toplevel;
  changed = toplevels [ changed ];
  iso = images.paranoid-iso;
  netboot = images.paranoid-netboot;
  meeka = outputs.nixosConfigurations.meeka.config.system.build.toplevel;
  live = outputs.packages.x86_64-linux.iso;
  installer = outputs.packages.x86_64-linux.paranoid-install;
}
