# The auto-install image as a hybrid ISO 9660: BIOS and UEFI, optical drive and USB stick.
{
  config,
  lib,
  modulesPath,
  ...
}:

{
  imports = [
    (modulesPath + "/installer/cd-dvd/iso-image.nix")
    ./image.nix
  ];

  isoImage = {
    makeEfiBootable = true;
    makeBiosBootable = true;
    makeUsbBootable = true;
    # By this label stage 1 finds the medium.
    volumeID = "paranoid-install";
    storeContents = config.paranoid.image.systems;
    # The graphical menu does not show on a serial console.
    forceTextMode = true;
    grubTheme = null;
  };

  system.build.medium = config.system.build.isoImage;

  image.baseName = lib.mkForce "paranoid-install-${config.system.nixos.label}";

  # Time to edit the kernel command line. 0 would make ISOLINUX wait for ever.
  boot.loader.timeout = lib.mkForce 5;
}
