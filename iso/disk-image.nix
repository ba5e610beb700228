# A disk with the host installed on it, as paranoid-install leaves it: the auto-install
# image is booted in a virtual machine, with the disk image as its only disk. So the layout
# is the installer's, whatever it is, and nothing is said here a second time.
#
# The disk has no host keys and no machine-id: each copy makes its own when it first boots.
{
  config,
  extendModules,
  lib,
  modulesPath,
  pkgs,
  ...
}:

let
  cfg = config.paranoid.images.disk;
  policy = import ../nix/lib/policy.nix;
  ofHost = import ./of-host.nix {
    inherit
      config
      extendModules
      lib
      pkgs
      ;
  };

  inherit (config.paranoid.boot) firmware;
  host = ofHost.configFor firmware;
  system = host.system.build.toplevel;
  uefi = firmware == "uefi";

  serial = "paranoid-image";

  installer = ofHost.installerWith [
    ./iso.nix
    {
      paranoid.image = {
        systems = [ system ];
        whenRefused = "poweroff";
        # The last one is where systemd and the installer print: the log of the build.
        consoles = [ "ttyS0,115200n8" ];
        answers = {
          inherit firmware;
          disk = "serial=${serial}";
          seal = true;
          countdown = 0;
          "then" = "poweroff";
        };
      };
    }
  ];

  kernel = "${installer.system.build.kernel}/${installer.system.boot.loader.kernelFile}";
  initrd = "${installer.system.build.initialRamdisk}/${installer.system.boot.loader.initrdFile}";
  parameters = "init=${installer.system.build.toplevel}/init ${toString installer.boot.kernelParams}";

  medium = "${installer.system.build.isoImage}/${installer.image.filePath}";

  qemu = [
    (lib.getExe' pkgs.qemu_kvm "qemu-system-x86_64")
    "-machine"
    "q35,accel=kvm:tcg"
    "-cpu"
    "max"
    "-smp"
    "2"
    "-m"
    (toString cfg.memory)
    "-display"
    "none"
    "-no-reboot"
    "-nic"
    "none"
    "-serial"
    "stdio"
    "-monitor"
    "none"
    "-device"
    "virtio-rng-pci"
    "-kernel"
    kernel
    "-initrd"
    initrd
    "-append"
    parameters
    "-drive"
    "if=none,id=medium,media=cdrom,readonly=on,format=raw,file=${medium}"
    "-device"
    "virtio-scsi-pci"
    "-device"
    "scsi-cd,drive=medium"
    "-drive"
    "if=none,id=disk,format=raw,cache=unsafe,file=disk.raw"
    "-device"
    "virtio-blk-pci,drive=disk,serial=${serial}"
  ]
  ++ lib.optionals uefi [
    "-drive"
    "if=pflash,format=raw,unit=0,readonly=on,file=${pkgs.OVMF.firmware}"
    "-drive"
    "if=pflash,format=raw,unit=1,file=efi-vars.fd"
  ];

  # As it is on the file system itself.
  record =
    lib.removePrefix policy.layout.nix.mountPoint policy.layout.persist.record + "/record.json";
in
{
  imports = [ (modulesPath + "/image/file-options.nix") ];

  image.baseName = lib.mkDefault "${config.networking.hostName}-${config.system.nixos.label}";
  image.extension = if cfg.format == "raw" then "img" else cfg.format;

  system.build.image =
    pkgs.runCommand config.image.baseName
      {
        nativeBuildInputs = [
          pkgs.e2fsprogs
          pkgs.jq
          pkgs.qemu-utils
          pkgs.util-linux
        ];
        # It would run without, emulated, and many times as long.
        requiredSystemFeatures = [ "kvm" ];
        passthru = { inherit host installer system; };
      }
      ''
        truncate --size=${toString cfg.size}M disk.raw
        ${lib.optionalString uefi ''
          install --mode=644 ${pkgs.OVMF.variables} efi-vars.fd
        ''}
        timeout 1800 ${lib.escapeShellArgs qemu} < /dev/null

        # QEMU's exit code says nothing of its guest; what lies on the disk does.
        start=$(sfdisk --json disk.raw | jq '.partitiontable.partitions[1].start * 512')
        debugfs -R "cat ${record}" "disk.raw?offset=$start" > record.json
        installed=$(jq --raw-output 'select(.sealed).toplevel' record.json)
        if [ "$installed" != ${system} ]; then
          echo "the disk holds '$installed', not ${system}, sealed; the log is above" >&2
          exit 1
        fi

        mkdir $out
        qemu-img convert -f raw -O ${cfg.format} disk.raw $out/${config.image.fileName}
        # What it takes to register the image with a cloud.
        jq --null-input \
          --arg file ${config.image.fileName} \
          --arg boot_mode ${if uefi then "uefi" else "legacy-bios"} \
          --arg label ${lib.escapeShellArg config.system.nixos.label} \
          --arg system ${pkgs.stdenv.hostPlatform.system} \
          --argjson logical_bytes $((${toString cfg.size} * 1024 * 1024)) \
          '$ARGS.named' > $out/image-info.json
      '';
}
