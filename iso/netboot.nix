# The auto-install image as a kernel and an initrd, for iPXE and kexec.
{
  config,
  modulesPath,
  pkgs,
  ...
}:

{
  imports = [
    (modulesPath + "/installer/netboot/netboot.nix")
    ./image.nix
  ];

  netboot.storeContents = config.paranoid.image.systems;

  image.baseName = "paranoid-install-${config.system.nixos.label}";

  # What a boot server serves: kernel, initrd, and the iPXE script with their parameters.
  system.build.medium = pkgs.symlinkJoin {
    name = "paranoid-install-netboot";
    paths = [
      config.system.build.kernel
      config.system.build.netbootIpxeScript
      config.system.build.netbootRamdisk
    ];
  };
}
