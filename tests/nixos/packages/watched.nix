# What every machine of the lab has beside the configuration under test: a serial line to see both
# menus and both stages, and a user to watch the map of ids with.
{
  boot.kernelParams = [ "console=ttyS0,115200n8" ];
  boot.loader.grub.extraConfig = ''
    serial --unit=0 --speed=115200
    terminal_input console serial
    terminal_output console serial
  '';

  # Its number stands nowhere but in /var/lib/nixos.
  users.users.unnumbered = {
    isSystemUser = true;
    group = "unnumbered";
  };
  users.groups.unnumbered = { };
}
