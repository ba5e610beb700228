# Subject: the private networks that the machine is administered through.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (import ../types.nix { inherit lib; }) runtimePath;
  cfg = config.paranoid.vpn;
  tailnet = policy.vpn.tailscale.interface;
  ssh = config.services.openssh;
  sshPorts = lib.optionals ssh.enable ssh.ports;

  ports =
    kind: example:
    lib.mkOption {
      type = lib.types.listOf lib.types.port;
      default = [ ];
      inherit example;
      description = ''
        ${kind} ports that are open on this network, and on no other. The port of ssh
        is among them by itself while the ssh daemon runs.
      '';
    };

  peer = lib.types.submodule {
    options = {
      publicKey = lib.mkOption {
        type = lib.types.singleLineStr;
        example = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        description = "The peer's public key, which is all that identifies it.";
      };
      allowedIPs = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        example = [ "10.100.0.2/32" ];
        description = ''
          Addresses that the peer may send from, and that are routed to it: as narrow
          as can be, since a peer can take the place of each of them.
        '';
      };
      endpoint = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "vpn.example.org:51820";
        description = "Where the peer is reached; null if it always calls first.";
      };
      presharedKeyFile = lib.mkOption {
        type = lib.types.nullOr runtimePath;
        default = null;
        example = "/nix/persist/etc/wireguard/laptop.psk";
        description = ''
          File with a key both sides share, which keeps a recorded session closed even
          if the key exchange is broken later.
        '';
      };
      persistentKeepalive = lib.mkOption {
        type = lib.types.nullOr lib.types.ints.positive;
        default = null;
        example = 25;
        description = ''
          Seconds between packets that keep a way open through address translation.
          Null sends none, and then a peer behind a router can't be called.
        '';
      };
    };
  };
in
{
  options.paranoid.vpn = {
    enable = lib.mkEnableOption ''
      the private networks below: Tailscale as soon as it has a key, WireGuard as
      soon as it has a peer. A daemon that only a private network reaches can't be
      scanned or attacked by everybody; two networks, since losing the only one is
      losing the machine'';

    sshOnly = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether ssh is reached over the private networks alone. Its port is then
        closed everywhere else, and the evaluation fails if no network is left to
        reach it by (`paranoid.access`).
      '';
    };

    tailscale = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = cfg.tailscale.authKeyFile != null;
        defaultText = lib.literalExpression "config.paranoid.vpn.tailscale.authKeyFile != null";
        example = true;
        description = ''
          Whether to join a tailnet. Its state is in /var/lib/tailscale, which
          persists, so the machine stays the same node over boots. Without a key file
          a person has to run `tailscale up` once.
        '';
      };
      authKeyFile = lib.mkOption {
        type = lib.types.nullOr runtimePath;
        default = null;
        example = "/nix/persist/etc/tailscale/auth.key";
        description = ''
          File with the key that the machine joins with: one-off and tagged, and to be
          deleted afterwards.
        '';
      };
      trustInterface = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = ''
          Whether every port is open to the tailnet, as in the article. Each device on
          it, and whoever holds one, then reaches everything that listens; the default
          opens declared ports alone.
        '';
      };
      allowedTCPPorts = ports "TCP" [ 443 ];
      allowedUDPPorts = ports "UDP" [ 53 ];
      openFirewall = lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = ''
          Whether Tailscale's own UDP port is open to everybody, for direct connections
          where both sides sit behind address translation. Without it such traffic
          takes a relay, and nothing breaks.
        '';
      };
      extraUpFlags = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "--advertise-tags=tag:server" ];
        description = ''
          Further arguments of `tailscale up`, used when the machine joins by its key
          file: tags, most of all, so that the tailnet's rules apply to it.
        '';
      };
    };

    wireguard = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = cfg.wireguard.peers != [ ];
        defaultText = lib.literalExpression "config.paranoid.vpn.wireguard.peers != [ ]";
        example = true;
        description = ''
          Whether to run WireGuard, the way in that depends on nobody else's service.
        '';
      };
      interface = lib.mkOption {
        type = lib.types.strMatching "[a-z][a-z0-9-]{0,14}";
        default = policy.vpn.wireguard.interface;
        example = "wg-admin";
        description = "Name of the network interface; the firewall's rules go by it.";
      };
      addresses = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "10.100.0.1/24" ];
        description = "The machine's addresses in this network, which ssh is then reached by.";
      };
      port = lib.mkOption {
        type = lib.types.port;
        default = policy.vpn.wireguard.port;
        example = 51821;
        description = ''
          UDP port that is open to everybody. WireGuard answers nothing to whoever has
          no key, so a scan doesn't see it.
        '';
      };
      privateKeyFile = lib.mkOption {
        type = runtimePath;
        default = policy.vpn.wireguard.privateKeyFile;
        example = "/nix/persist/etc/wireguard/private.key";
        description = ''
          File with the machine's key. It is made at the first boot if it isn't there,
          so it has to lie where it persists.
        '';
      };
      peers = lib.mkOption {
        type = lib.types.listOf peer;
        default = [ ];
        example = lib.literalExpression ''
          [
            {
              publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
              allowedIPs = [ "10.100.0.2/32" ];
            }
          ]
        '';
        description = "Who may connect. With none, nobody can, and WireGuard is off.";
      };
      allowedTCPPorts = ports "TCP" [ 9100 ];
      allowedUDPPorts = ports "UDP" [ 53 ];
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        services.openssh.openFirewall = lib.mkIf cfg.sshOnly false;
      }
      (lib.mkIf cfg.tailscale.enable {
        services.tailscale = {
          enable = true;
          interfaceName = tailnet;
          port = policy.vpn.tailscale.port;
          inherit (cfg.tailscale) authKeyFile extraUpFlags openFirewall;
        };
        # It would pick iptables where it finds it, beside the nftables of the firewall.
        systemd.services.tailscaled.environment.TS_DEBUG_FIREWALL_MODE = "nftables";
        # Loaded at boot: once modules are locked (paranoid.kernel) it is too late,
        # and a first login may come at any time.
        boot.kernelModules = [
          "tun"
          "nft_chain_nat"
          "nft_masq"
        ];
        networking.firewall = {
          trustedInterfaces = lib.optional cfg.tailscale.trustInterface tailnet;
          interfaces.${tailnet} = {
            allowedTCPPorts = sshPorts ++ cfg.tailscale.allowedTCPPorts;
            inherit (cfg.tailscale) allowedUDPPorts;
          };
        };
      })
      (lib.mkIf cfg.wireguard.enable {
        boot.kernelModules = [ "wireguard" ];
        networking.wireguard.interfaces.${cfg.wireguard.interface} = {
          ips = cfg.wireguard.addresses;
          listenPort = cfg.wireguard.port;
          inherit (cfg.wireguard) privateKeyFile;
          generatePrivateKeyFile = true;
          peers = map (peer: {
            inherit (peer)
              publicKey
              allowedIPs
              endpoint
              presharedKeyFile
              persistentKeepalive
              ;
          }) cfg.wireguard.peers;
        };
        networking.firewall = {
          allowedUDPPorts = [ cfg.wireguard.port ];
          interfaces.${cfg.wireguard.interface} = {
            allowedTCPPorts = sshPorts ++ cfg.wireguard.allowedTCPPorts;
            inherit (cfg.wireguard) allowedUDPPorts;
          };
        };
      })
    ]
  );
}
