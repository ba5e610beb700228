# Subject: becoming root.
{
  config,
  lib,
  ...
}:
let
  cfg = config.paranoid.sudo;
  wheel = cfg.mode == "wheel";

  # Set-uid programs, and such with capabilities, that nothing on a server needs.
  # unix_chkpwd stays: PAM checks passwords with it.
  unneeded = [
    "chsh"
    "fusermount"
    "fusermount3"
    "mount"
    "newgidmap"
    "newgrp"
    "newuidmap"
    "passwd"
    "pkexec"
    "sg"
    "su"
    "umount"
  ];
in
{
  options.paranoid.sudo = {
    enable = lib.mkEnableOption ''
      the closing of the ways to become root: no sudo, and no other set-uid program that
      can be spared. Each is a large program that runs as root with what a user gives it.
      Root logs in by ssh with a key, or at the console. Breaks `su`, `newgrp`, `pkexec`,
      rootless containers, and mounting as a user'';

    mode = lib.mkOption {
      type = lib.types.enum [
        "none"
        "wheel"
      ];
      default = "none";
      example = "wheel";
      description = ''
        Whether there is no sudo, or one that only members of wheel can start at all
        (others can't even execute it, so its mistakes are of no use to them).
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    security.sudo = {
      enable = wheel;
      execWheelOnly = true;
      wheelNeedsPassword = true;
    };
    security.sudo-rs.enable = false;
    security.wrappers = lib.genAttrs unneeded (_: {
      enable = false;
    });
  };
}
