# What images of a host are made of: the host for a disk that nobody knows yet, and the
# live system that installs it.
{
  config,
  extendModules,
  lib,
  pkgs,
}:

let
  policy = import ../nix/lib/policy.nix;

  # hardware-configuration.nix knows the UUIDs of one machine's disk; of a disk that is yet
  # to be made, only the labels are known.
  byLabel =
    firmware:
    let
      inherit (import ../nix/lib/filesystems.nix { inherit policy firmware; }) fileSystems;
    in
    lib.genAttrs [ policy.layout.boot.mountPoint policy.layout.nix.mountPoint ] (mountPoint: {
      device = lib.mkForce fileSystems.${mountPoint}.device;
      fsType = lib.mkForce fileSystems.${mountPoint}.fsType;
    });
in
{
  # The host's configuration for one kind of firmware. The installer writes the boot
  # loader, so it names no device.
  configFor =
    firmware:
    (extendModules {
      modules = [
        {
          paranoid.boot.firmware = lib.mkForce firmware;
          paranoid.boot.device = lib.mkForce "nodev";
          fileSystems = byLabel firmware;
          # Without it the first stage has no driver for most disks of virtual machines.
          hardware.enableAllHardware = lib.mkDefault true;
          # It would bring all firmware, too: the host says whether it wants that.
          hardware.enableRedistributableFirmware = lib.mkOverride 90 config.hardware.enableRedistributableFirmware;
        }
      ];
    }).config;

  # The configuration of the live system, with the modules of one kind of medium.
  installerWith =
    modules:
    (import (pkgs.path + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        config.paranoid.images.installer
        { nixpkgs.pkgs = pkgs; }
      ]
      ++ modules;
    }).config;
}
