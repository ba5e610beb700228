# Texts for nftables (nft(8)).
{ policy }:
let
  inherit (policy) firewall;
  isIPv6 = network: builtins.match ".*:.*" network != null;
  set = networks: "{ ${builtins.concatStringsSep ", " networks} }";
  reject =
    protocol: networks:
    if networks == [ ] then
      ""
    else
      "    ${protocol} daddr ${set networks} counter reject with icmpx admin-prohibited\n";
in
{
  # The last rule of a chain that new connections run through before they are
  # dropped: a line in the log, at a bounded rate. Broadcasts are noise.
  logRefused =
    {
      rate ? firewall.log.rate,
      burst ? firewall.log.burst,
    }:
    "meta pkttype host limit rate ${rate} burst ${toString burst} packets "
    + "log level info prefix \"${firewall.log.prefix}\"";

  # The content of a table (family inet) that refuses connections to networks.
  egress =
    networks:
    "  chain output {\n"
    + "    type filter hook output priority filter; policy accept;\n"
    + reject "ip" (builtins.filter (network: !(isIPv6 network)) networks)
    + reject "ip6" (builtins.filter isIPv6 networks)
    + "  }\n";
}
