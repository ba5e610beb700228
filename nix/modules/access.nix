# Subject: one way in remains.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.access;
  inherit (config.networking) firewall wireguard;
  ssh = config.services.openssh;

  isOpen = ports: lib.any (port: lib.elem port ports) ssh.ports;

  openOn =
    interface:
    lib.elem interface firewall.trustedInterfaces
    || isOpen (firewall.interfaces.${interface} or { allowedTCPPorts = [ ]; }).allowedTCPPorts;

  # An interface that only a private network brings: there while that network is.
  private =
    lib.optional config.services.tailscale.enable config.services.tailscale.interfaceName
    ++ lib.attrNames (lib.filterAttrs (_: interface: interface.peers != [ ]) wireguard.interfaces);

  named = lib.subtractLists (
    [
      policy.vpn.tailscale.interface
      config.services.tailscale.interfaceName
      "lo"
    ]
    ++ lib.attrNames wireguard.interfaces
  ) (lib.attrNames firewall.interfaces ++ firewall.trustedInterfaces);

  reachable =
    !firewall.enable || isOpen firewall.allowedTCPPorts || lib.any openOn (private ++ named);

  missing =
    if !ssh.enable then
      "The ssh daemon is off; switch on paranoid.sshd"
    else if !reachable then
      "No network reaches the ssh daemon; open it with paranoid.sshd.openFirewall, or give "
      + "paranoid.vpn.tailscale an authKeyFile or paranoid.vpn.wireguard a peer"
    else
      "No user who may log in has a key; set users.users.<name>.openssh.authorizedKeys.keys";

  mayLogIn =
    name: user: if name == "root" then ssh.settings.PermitRootLogin != "no" else user.isNormalUser;
  holdsKey =
    user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ];

  # Keys given at install time are looked for by the installer, which knows them.
  keysOnDisk = lib.elem "${policy.layout.persist.authorizedKeys}/%u" ssh.authorizedKeysFiles;
  keyed =
    keysOnDisk || lib.any holdsKey (lib.attrValues (lib.filterAttrs mayLogIn config.users.users));
in
{
  options.paranoid.access = {
    enable = lib.mkEnableOption ''
      the check that one way into the machine remains: an ssh daemon that some network
      reaches and that knows a key, or a password at the console. Each measure alone
      is right, and all together they can lock the owner out'';

    console = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether somebody can log in at the console: holds a password whose hash lies in
        ${policy.layout.persist.passwords}, and reaches the machine's console. Counts as
        a way in, so that a machine without any other one evaluates.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.console || (ssh.enable && reachable && keyed);
        message = ''
          paranoid.access: no way into this machine remains. ${missing}, or say with
          paranoid.access.console = true that the console is enough.
        '';
      }
    ];
  };
}
