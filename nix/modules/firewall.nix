# Subject: what reaches the machine, and what it reaches.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  rules = import ../lib/firewall.nix { inherit policy; };
  cfg = config.paranoid.firewall;
  inherit (config.networking) firewall;
  inherit (config.services) tailscale;

  listener = protocol: interfaces: port: { inherit protocol interfaces port; };
  ports = ranges: lib.concatMap (range: lib.range range.from range.to) ranges;
  opened =
    interfaces: rules:
    map (listener "tcp" interfaces) (rules.allowedTCPPorts ++ ports rules.allowedTCPPortRanges)
    ++ map (listener "udp" interfaces) (rules.allowedUDPPorts ++ ports rules.allowedUDPPortRanges);

  # Sockets that answer to what the machine itself has asked, and that no rule opens.
  asking =
    lib.optional tailscale.enable (listener "udp" [ ] tailscale.port)
    ++ lib.optionals config.networking.useDHCP [
      (listener "udp" [ ] 68)
      (listener "udp" [ ] 546)
    ];

  declared =
    opened [ ] firewall
    ++ lib.concatLists (lib.mapAttrsToList (name: opened [ name ]) firewall.interfaces)
    ++ asking
    ++ cfg.listeners;
in
{
  options.paranoid.firewall = {
    enable = lib.mkEnableOption ''
      the packet filter: nftables, everything dropped that no option opened. A port
      that is open by accident is the commonest way in. Breaks firewall rules that
      are written for iptables (`networking.firewall.extraCommands`)'';

    log = {
      rate = lib.mkOption {
        type = lib.types.strMatching "[0-9]+/(second|minute|hour|day)";
        default = policy.firewall.log.rate;
        example = "1/second";
        description = ''
          How many refused connections are logged. NixOS logs either none or all of
          them; a scan would then push everything else out of the journal.
        '';
      };
      burst = lib.mkOption {
        type = lib.types.ints.positive;
        default = policy.firewall.log.burst;
        example = 50;
        description = ''
          How many refused connections are logged at once before the rate holds, so
          that the start of a scan is seen in full.
        '';
      };
    };

    listeners = lib.mkOption {
      type = lib.types.listOf (
        lib.types.submodule {
          options = {
            protocol = lib.mkOption {
              type = lib.types.enum [
                "tcp"
                "udp"
              ];
              example = "udp";
              description = "Protocol that the socket speaks: sshd speaks tcp, WireGuard udp.";
            };
            port = lib.mkOption {
              type = lib.types.port;
              example = 5353;
              description = "Number of the port that is listened on.";
            };
            interfaces = lib.mkOption {
              type = lib.types.listOf lib.types.str;
              default = [ ];
              example = [ "tailscale0" ];
              description = "Interfaces that the port is meant for; empty means all of them.";
            };
          };
        }
      );
      default = [ ];
      example = [
        {
          protocol = "udp";
          port = 5353;
        }
      ];
      description = ''
        What may listen beside the ports that the packet filter opens, a DHCP client and
        Tailscale. All of it is written to /etc/paranoid/listeners.json, by which
        `paranoid-install verify` finds what listens and was not asked for. It opens nothing.
      '';
    };

    egress = {
      enable = lib.mkEnableOption ''
        the block of outgoing connections to the binary cache. A machine that is
        deployed by push needs no way to fetch programs; an intruder does. Only a
        hurdle, since such networks are many and shared with other sites, and it
        breaks substitution and every site on the same networks'';

      networks = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = policy.firewall.egress.networks;
        example = [ "198.51.100.0/24" ];
        description = ''
          Networks (IPv4 and IPv6, in CIDR notation) that no connection may be opened
          to. By default those of the binary cache's content delivery network.
        '';
      };

      domains = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = policy.firewall.egress.domains;
        example = [
          "cache.nixos.org"
          "downloads.example.org"
        ];
        description = ''
          Names that resolve to no address on this machine, by /etc/hosts. A packet
          filter knows addresses only; a name can get a new one any day.
        '';
      };
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        networking.nftables.enable = true;
        environment.etc."paranoid/listeners.json".text = builtins.toJSON {
          version = 1;
          listeners = lib.unique declared;
        };
        networking.firewall = {
          enable = true;
          logRefusedConnections = false;
          logRefusedPackets = false;
          extraInputRules = lib.mkAfter (rules.logRefused { inherit (cfg.log) rate burst; });
        };
      }
      (lib.mkIf cfg.egress.enable {
        networking.nftables.tables = lib.mkIf (cfg.egress.networks != [ ]) {
          ${policy.firewall.egress.table} = {
            family = "inet";
            content = rules.egress cfg.egress.networks;
          };
        };
        networking.hosts = lib.mkIf (cfg.egress.domains != [ ]) {
          "0.0.0.0" = cfg.egress.domains;
          "::" = cfg.egress.domains;
        };
      })
    ]
  );
}
