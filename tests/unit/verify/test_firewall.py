"""What we say of rule sets, against what this kernel does with real packets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from paranoid_install.verify.packets import TCP, UDP, V4, V6, Packets, connections, networks
from paranoid_install.verify.ruleset import Ruleset, Verdict
from tests.unit.verify.kernel import PORTS, SOURCES, Lab, Probe, lab

MATCHES = (
    "", "ct state new", "ct state { new, related }", "ct state != established",
    "ct state established,related", "ct state vmap { invalid : drop, established : accept }",
    "ip saddr { 0.0.0.0/1, 128.0.0.0/1 }", "ip saddr { 0.0.0.0/1, 128.0.0.0/2 }",
    "ip saddr 10.0.0.0/8", "ip saddr != 10.0.0.0/8", "ip6 saddr 2600::/12",
    "ip6 saddr != 2600::/12",
    "ip saddr @nets", "ip saddr != @nets", "ip daddr 192.0.2.1", "ip6 daddr fe80::/64",
    "ip saddr 198.51.100.0-203.0.113.255", "ip saddr & 255.0.0.0 == 10.0.0.0",
    'iifname != "lo"', 'iifname "eth0"', 'iifname "eth*"', 'iifname { "lo", "tailscale0" }',
    "iif lo", 'iifname != { "lo", "eth0" }', 'iifname . tcp dport { "eth0" . 22 }',
    "tcp dport 0-65535", "tcp dport { 22, 80 }", "tcp dport 22", "tcp dport != 22",
    "tcp dport > 1024", "tcp dport <= 443", "udp dport 40000", "tcp dport @ports",
    "udp dport != @ports", "th dport 22", "@th,16,16 22", "meta l4proto . th dport @pairs",
    "meta l4proto tcp", "meta l4proto { tcp, udp }", "meta l4proto != tcp", "meta nfproto ipv4",
    "meta protocol ip6", "ip protocol tcp", "ip6 nexthdr tcp", "fib daddr type local",
    "fib daddr type != local", "fib saddr . iif oif exists", "fib saddr . iif oif missing",
    "tcp flags syn", "tcp flags & (fin|syn|rst|ack) == syn", "tcp flags != syn", "tcp flags ack",
    "meta mark 0", "meta mark & 0x1 == 0", "meta pkttype host", "meta pkttype != host",
    "limit rate 1000/second", "limit rate over 1/day burst 1 packets", "ct count over 1000",
    "ct direction original", "ct mark 0", "ip ttl 64", "meta length > 40", "meta skuid 0",
    "meta iiftype ether", "tcp sport 1-65535", "tcp sport > 1023", "udp sport 1-1023",
    "ip saddr . tcp dport { 198.51.100.7 . 22, 10.9.8.0/24 . 0-1023 }", "icmp type echo-request",
    "numgen inc mod 2 0", "jhash ip saddr mod 2 0", "quota 10 mbytes", "quota over 10 mbytes",
    "counter", 'log prefix "x"', "tcp option maxseg exists", "ip dscp 0", "socket transparent 0",
    'meta hour "00:00"-"23:59"', "notrack ct state untracked", "meta mark set 1 meta mark 1",
    "add @seen { ip saddr }", "ip saddr @seen", "ct status confirmed", "meta cpu 0",
    "ip version 4", "ip frag-off & 0x1fff == 0", "tcp dport vmap @fates", "meta iifgroup 0",
)  # fmt: skip
ENDS = ("accept", "accept", "accept", "drop", "reject", "continue", "return", "jump one",
        "goto two", "jump two", "jump three",
        "tcp dport vmap { 22 : accept, 80 : jump one }",
        "tcp dport vmap { 1-1023 : goto two, 8080 : drop, * : continue }",
        "meta l4proto vmap { tcp : jump one, udp : drop }",
        'iifname vmap { "eth0" : jump two, "lo" : accept }', "tcp dport vmap @fates",
        "ct state vmap { new : jump one, established : accept }")  # fmt: skip
SETS = """
 set nets {
  type ipv4_addr
  flags interval
  elements = { 10.0.0.0/8, 203.0.113.0/24 }
 }
 set ports {
  type inet_service
  flags interval
  elements = { 22, 400-500, 40000 }
 }
 set pairs {
  type inet_proto . inet_service
  flags interval
  elements = { tcp . 20-30, udp . 8080 }
 }
 set seen {
  type ipv4_addr
  flags dynamic
 }
 map fates {
  type inet_service : verdict
  elements = { 22 : accept, 8080 : drop, 443 : jump three }
 }
"""
NAT = ("tcp dport 2222 redirect to :22", "udp dport 40000 redirect to :22", "redirect to :80",
       "tcp dport 443 dnat ip to 192.0.2.1:22", 'iifname "eth0" accept')  # fmt: skip


def rules(seed: int) -> str:
    """A rule set, by its number."""
    rng = random.Random(seed)

    def chain(name: str, head: str, ends: tuple[str, ...], most: int) -> str:
        lines = [
            f"  {' '.join(rng.sample(MATCHES, rng.choice((0, 1, 1, 1, 2))))} {rng.choice(ends)}"
            for _ in range(rng.randint(0, most))
        ]
        return f" chain {name} {{\n{head}" + "\n".join(lines) + "\n }\n"

    simple = tuple(
        end for end in ENDS if "jump" not in end and "goto" not in end and "@" not in end
    )
    hook = rng.choice(("input", "input", "input", "prerouting"))
    policy = rng.choice(("drop", "drop", "accept"))
    family = rng.choice(("inet", "inet", "inet", "ip", "ip6"))
    priority = rng.choice((0, 0, -300)) if hook == "prerouting" else 0
    text = f"table {family} t {{{SETS}"
    text += chain("three", "", simple, 2) + chain("two", "", (*simple, "jump three"), 3)
    text += chain("one", "", (*simple, "jump two", "goto three"), 3)
    text += chain(
        "in", f"  type filter hook {hook} priority {priority}; policy {policy};\n", ENDS, 5
    )
    if rng.random() < 0.3:
        text += chain("late", f"  type filter hook input priority 9; policy {policy};\n", ENDS, 3)
    if rng.random() < 0.2:
        lines = "\n".join(rng.sample(NAT, rng.randint(1, 2)))
        text += f" chain nat {{\n  type nat hook prerouting priority -100;\n{lines}\n }}\n"
    return text + "}\n"


def loadable(there: Lab, seed: int) -> tuple[str, Ruleset] | None:
    text = rules(seed)
    objects = there.load(text)
    return None if objects is None else (text, Ruleset(objects))


def exactly(probe: Probe) -> Packets:
    """The class of one packet."""
    family = V6 if ":" in probe.source else V4
    made = connections(
        probe.interface, family, TCP if probe.tcp else UDP, networks([probe.source]),
        ((probe.port, probe.port),),
    )  # fmt: skip
    made = made.having("daddr", networks([probe.target]))
    return made.having("sport", ((probe.sport, probe.sport),))


def probes(rng: random.Random, number: int) -> list[tuple[str, bool, str, int]]:
    found = []
    for _ in range(number):
        interface = rng.choice(("eth0", "eth0", "tailscale0"))
        source = rng.choice(SOURCES[interface])
        found.append((interface, rng.random() < 0.6, source, rng.choice(PORTS)))
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    with lab() as made:
        yield made


def compare(there: Lab, seeds: range) -> Counter[str]:
    """Counts of rule sets and packets; a contradiction fails at once."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        loaded = loadable(there, seed)
        if loaded is None:
            counts["refused by nft"] += 1
            continue
        text, judge = loaded
        counts["rule sets"] += 1
        for probe, first in there.send(probes(random.Random(seed), 16)).items():
            got_in = first
            fates = {fate.verdict for fate in judge.judge(exactly(probe))}
            if not got_in and fates == {Verdict.ACCEPTED}:
                # A busy machine is late with what gets in; what is refused never comes.
                again = (probe.interface, probe.tcp, probe.source, probe.port)
                (got_in,) = there.send([again], seconds=2).values()
            counts["packets"] += 1
            counts["got in" if got_in else "did not"] += 1
            counts["cannot tell"] += Verdict.UNCLEAR in fates
            counts["both"] += fates == {Verdict.ACCEPTED, Verdict.REFUSED}
            if got_in:
                assert fates != {Verdict.REFUSED}, f"got in: {probe}\n{text}"
            else:
                assert fates != {Verdict.ACCEPTED}, f"did not: {probe}\n{text}"
    return counts


def test_the_kernel_agrees_on_a_few_dozen_rule_sets(network: Lab) -> None:
    counts = compare(network, range(60))
    assert counts["rule sets"] > 25
    assert min(counts["got in"], counts["did not"]) > 50


@pytest.mark.full
def test_the_kernel_agrees_on_hundreds_of_rule_sets(network: Lab) -> None:
    counts = compare(network, range(1000, 2500))
    print(dict(counts))
    assert counts["rule sets"] >= 500
    assert counts["cannot tell"] < counts["packets"] / 2
