# paranoid.enable: every measure at once, each of which can still be switched off.
{
  config,
  lib,
  ...
}:
let
  on = lib.mkDefault true;
in
{
  options.paranoid.enable = lib.mkEnableOption ''
    the whole paranoid profile: every measure of these modules, each as a default
    that `paranoid.<measure>.enable = false` takes back. A measure left out by
    mistake is the one that is missed later, so the profile starts from all of them'';

  config.paranoid = lib.mkIf config.paranoid.enable {
    access.enable = on;
    amnesia.enable = on;
    antivirus.enable = on;
    audit.enable = on;
    audit.lock = on;
    boot.enable = on;
    breakglass.enable = on;
    directives.enable = on;
    firewall.enable = on;
    kernel.enable = on;
    logs.enable = on;
    nix.enable = on;
    noexec.enable = on;
    packages.enable = on;
    sshd.enable = on;
    sudo.enable = on;
    users.enable = on;
    vpn.enable = on;
    # Runs the installer's own program: there where the package set has it.
    watch.enable = lib.mkDefault (config.paranoid.watch.package != null);
  };
}
