# Subject: programs that lie ready for an intruder.
{
  config,
  lib,
  ...
}:
let
  cfg = config.paranoid.packages;
in
{
  options.paranoid.packages.enable = lib.mkEnableOption ''
    the removal of programs that nobody asked for: perl, rsync, strace and nano from the
    system's path, documentation, and the loader for foreign programs. An interpreter is
    what a noexec mount doesn't stop. Breaks rsync to the machine, and `man`'';

  config = lib.mkIf cfg.enable {
    environment.defaultPackages = lib.mkForce [ ];
    environment.stub-ld.enable = false;
    programs = {
      nano.enable = false;
      # Runs perl, and lists what could be fetched.
      command-not-found.enable = false;
    };
    documentation = {
      enable = false;
      doc.enable = false;
      info.enable = false;
      man.enable = false;
      nixos.enable = false;
    };
    # nixos-generate-config is perl, and its work is done.
    system.tools.nixos-generate-config.enable = false;
    xdg = {
      autostart.enable = false;
      icons.enable = false;
      menus.enable = false;
      mime.enable = false;
      sounds.enable = false;
    };
  };
}
