# A fixed address in QEMU's network: Debian's dhcpcd wants a user that NixOS has not, dies in its
# sandbox, and is started again for ever.
{ lib, ... }:
{
  networking.useDHCP = lib.mkForce false;
  networking.useNetworkd = true;
  systemd.network.networks."10-lab" = {
    matchConfig.Type = "ether";
    address = [ "10.0.2.15/24" ];
  };
  systemd.network.wait-online.enable = false;
  services.resolved.enable = false;
  # Debian's resolvconf looks for an init system that it knows.
  networking.resolvconf.enable = false;
}
