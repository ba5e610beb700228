# Debian's programs have places compiled in; NixOS has nothing there. Links lead from those places
# into the store, in both stages. The lab appends this to nixpkgs' list of modules, so that the
# configurations under test stay what the installer writes.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  systemd = config.systemd.package;

  directories = {
    "/usr/lib/systemd" = "${systemd}/lib/systemd";
    "/usr/lib/udev" = "${systemd}/lib/udev";
    "/usr/lib/openssh" = "${pkgs.openssh}/lib/openssh";
    "/usr/lib/grub" = "${pkgs.grub2}/lib/grub";
    "/usr/share/grub" = "${pkgs.grub2}/share/grub";
    "/usr/lib/locale" = "${config.i18n.glibcLocales}/lib/locale";
    "/usr/share/dbus-1" = "${pkgs.dbus}/share/dbus-1";
    "/usr/lib/modules" = "/run/booted-system/kernel-modules/lib/modules";
    "/lib/modules" = "/run/booted-system/kernel-modules/lib/modules";
  };

  programs = {
    util-linux = [
      "agetty"
      "fsck"
      "mount"
      "sulogin"
      "swapoff"
      "swapon"
      "umount"
    ];
    kmod = [
      "depmod"
      "kmod"
      "modprobe"
    ];
    dbus-broker = [
      "dbus-broker"
      "dbus-broker-launch"
    ];
    linux-pam = [ "unix_chkpwd" ];
    e2fsprogs = [ "fsck.ext4" ];
    shadow = [ "login" ];
    systemd = [ "systemd-tmpfiles" ];
  };

  links =
    directories
    // lib.concatMapAttrs (
      package: names:
      lib.listToAttrs (
        lib.concatMap (
          name:
          map (place: lib.nameValuePair "/usr/${place}/${name}" "${pkgs.${package}}/bin/${name}") [
            "bin"
            "sbin"
          ]
        ) names
      )
    ) programs;

  # The first stage has the programs in /usr/bin anyway.
  early = lib.getAttrs [
    "/usr/lib/systemd"
    "/usr/lib/udev"
  ] directories;
in
{
  imports = [
    ./network.nix
    ./watched.nix
  ];

  # Debian's kernel is configured otherwise: it has not every driver that nixpkgs' has.
  boot.initrd.allowMissingModules = lib.mkDefault true;

  # It has not SQUASHFS_CHOICE_DECOMP_BY_MOUNT either, for which nixpkgs says threads=multi. To force
  # the options is to lose what neededForBoot adds to them.
  fileSystems = lib.optionalAttrs (options ? isoImage || options ? netboot) {
    "/nix/.ro-store" = lib.mkImageMediaOverride {
      options = lib.mkForce [
        "loop"
        "x-initrd.mount"
      ];
    };
  };

  # Compiled into Debian's sshd, where its processes without privileges live.
  systemd.tmpfiles.rules = lib.mkIf config.services.openssh.enable [ "d /run/sshd 0755" ];

  boot.initrd.systemd.contents = lib.mapAttrs (_: source: { inherit source; }) early;

  system.activationScripts.compiledInPlaces = ''
    mkdir -p /lib /usr/bin /usr/sbin /usr/lib /usr/share
    ${lib.concatStrings (
      lib.mapAttrsToList (path: target: "ln -sfn ${target} ${path}\n") links
    )}
  '';
}
