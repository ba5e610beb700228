# The paranoid modules, all of them. In a machine's /etc/nixos this directory is
# ./paranoid and is imported as that; with impermanence beside it, it is complete.
# A flake imports impermanence's nixos.nix itself, next to this.
{ lib, ... }:
{
  imports = [
    ./profile.nix
    ./modules/access.nix
    ./modules/amnesia.nix
    ./modules/antivirus.nix
    ./modules/audit.nix
    ./modules/boot.nix
    ./modules/breakglass.nix
    ./modules/directives.nix
    ./modules/firewall.nix
    ./modules/kernel.nix
    ./modules/logs.nix
    ./modules/nix.nix
    ./modules/noexec.nix
    ./modules/packages.nix
    ./modules/services.nix
    ./modules/sshd.nix
    ./modules/sudo.nix
    ./modules/users.nix
    ./modules/vpn.nix
    ./modules/watch.nix
  ]
  ++ lib.optional (builtins.pathExists ./impermanence/nixos.nix) ./impermanence/nixos.nix;
}
