# The live system below the installer: NixOS as it boots from a medium, with nobody to log
# in as. NixOS's own installer base (profiles/installation-device.nix) has a user with an
# empty password, sudo without one, and root by ssh; it is not used, and assertions say so
# if anything brings its parts back.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:

{
  imports = [
    (modulesPath + "/installer/cd-dvd/channel.nix")
    (modulesPath + "/installer/scan/detected.nix")
    (modulesPath + "/installer/scan/not-detected.nix")
    (modulesPath + "/profiles/minimal.nix")
  ];

  config = {
    assertions = [
      {
        assertion = !config.security.sudo.enable && !config.security.sudo-rs.enable;
        message = "The live image has nobody who could need sudo; turn it off.";
      }
      {
        assertion = lib.all (
          user:
          user.password == null && user.initialPassword == null && user.initialHashedPassword != ""
        ) (lib.attrValues config.users.users);
        message = "A user of the live image has a password in plain text, or an empty one.";
      }
      {
        assertion = lib.all (user: !user.isNormalUser) (lib.attrValues config.users.users);
        message = "The live image has no users; remove the one that was added.";
      }
      {
        assertion =
          config.services.openssh.enable
          ->
            !config.services.openssh.settings.PasswordAuthentication
            && lib.elem config.services.openssh.settings.PermitRootLogin [
              "no"
              "prohibit-password"
            ];
        message = "sshd of the live image may let in keys alone.";
      }
      {
        assertion = config.services.getty.autologinUser == null;
        message = "Nobody is logged in at the consoles of the live image by itself.";
      }
    ];

    networking.hostName = lib.mkDefault "paranoid-install";
    system.nixos.variant_id = lib.mkDefault "installer";
    system.stateVersion = lib.mkDefault lib.trivial.release;

    # root is locked; a shell appears on the consoles when a person is needed.
    users.mutableUsers = false;
    users.allowNoPasswordLogin = true;
    security.sudo.enable = false;
    services.openssh.enable = lib.mkDefault false;
    # The consoles belong to the installer.
    systemd.targets.getty.enable = false;
    services.logind.settings.Login = {
      NAutoVTs = 0;
      ReserveVT = 0;
    };

    # The machine is not known.
    hardware.enableAllHardware = true;
    # It is for what downloads something; a system that is baked in brings its own. Stronger than
    # the plain definition of enableAllHardware, weaker than a person's mkForce.
    hardware.enableRedistributableFirmware = lib.mkOverride 90 (config.paranoid.image.systems == [ ]);
    boot.supportedFilesystems = {
      ext4 = true;
      vfat = true;
    };

    nix.settings = {
      allowed-users = [ "root" ];
      experimental-features = [
        "nix-command"
        "flakes"
      ];
    };

    # A copy of the closure and an evaluation of NixOS fork from large processes in little
    # memory; refusing them by estimate fails installs that would have fitted.
    boot.kernel.sysctl."vm.overcommit_memory" = "1";

    # Crash records of the machine are evidence; the live system's disk is memory.
    environment.etc."systemd/pstore.conf".text = ''
      [PStore]
      Unlink=no
    '';

    # What nixos-install builds with when there is no binary cache for it.
    system.extraDependencies = lib.mkIf (config.paranoid.image.systems == [ ]) (
      [
        pkgs.busybox
        pkgs.makeInitrdNGTool
        pkgs.stdenvNoCC
      ]
      ++ pkgs.jq.all
    );
  };
}
