"""Reading an audit log: `watch`, a loop of regular expressions, auparse and ausearch, side by side.

    python bench/watch.py [--events 150000] [--python /usr/bin/python3] [--ausearch ausearch]
        [--auparse-path DIR] [--library-path DIR] [--json FILE]

Each contender is a process of its own and answers the same question about the same file: which
executions did not come from the store? The files are the three mixes of watch_synthetic.py, of
x86_64 and of aarch64. CPU seconds (user and system, from wait4) of one core, the median of
`--rounds` runs taken in turn; start-up included; one and the same Python. `auparse` is asked for
exe, CWD and the names of all PATHs; ausearch prints the events that hold an EXECVE. What `watch`
counts in the end is compared with its own slow way. The growth table reads 1, 2, 4 and 8 times the
events; the live table feeds 1,000 events a second of journalctl's JSON, and of auditd's form, to
`watch` and takes its share of one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "installer")]

from bench.watch_synthetic import MACHINES, MIXES, write  # noqa: E402
from paranoid_install import policy  # noqa: E402
from paranoid_install.watch.events import Counts  # noqa: E402
from paranoid_install.watch.judge import Judge  # noqa: E402
from paranoid_install.watch.rules import read  # noqa: E402
from paranoid_install.watch.scan import Scanner  # noqa: E402
from paranoid_install.watch.sources import replay  # noqa: E402

SLOW = ("watch, every record parsed", "loop of regular expressions")
"""Run once, and on one machine's records: they are far behind."""

AUPARSE = """
import sys, auparse
parser = auparse.AuParser(auparse.AUSOURCE_FILE, sys.argv[1])
found = 0
while parser.parse_next_event():
    outside = False
    parser.first_record()
    exe = parser.find_field("exe")
    if exe and not exe.startswith('"/nix/store/'):
        outside = True
    parser.first_record()
    started = False
    while True:
        kind = parser.get_type_name()
        if kind == "PATH":
            name = parser.find_field("name")
            if name and not name.startswith('"/nix/store/'):
                outside = True
        elif kind == "CWD":
            parser.find_field("cwd")
        elif kind == "EXECVE":
            started = True
        if parser.next_record() != 1:
            break
    found += outside and started
print(found)
"""


def ours(path: str, shortcut: bool) -> int:
    """Executions to report, by `watch` itself."""
    scanner = Scanner(Judge(read(policy.load("watch"))), Counts(), shortcut=shortcut)
    found = 0
    for block in replay(Path(path)):
        found += sum(1 for _ in scanner.feed(block))
    return found + sum(1 for _ in scanner.finish())


_LINE = re.compile(r"type=(\w+) msg=audit\((\d+\.\d+):(\d+)\): (.*)")
_FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')


def loop(path: str) -> int:
    """The plain way: two regular expressions a line, records joined by serial in a dictionary."""
    events: dict[str, dict[str, dict[str, str]]] = {}
    found = 0
    with Path(path).open(encoding="ascii") as file:
        for line in file:
            match = _LINE.match(line)
            if match is None:
                continue
            kind, _, serial, body = match.groups()
            if kind == "EOE":
                event = events.pop(serial, {})
                outside = [
                    True
                    for name, values in event.items()
                    for field in ("exe", "name")
                    if field in values and not values[field].startswith('"/nix/store/')
                ]
                found += bool(outside)
                continue
            if kind == "PATH":
                kind += str(len(events.get(serial, ())))
            events.setdefault(serial, {})[kind] = dict(_FIELD.findall(body))
    return found


def cpu(
    argv: list[str], environment: dict[str, str], stdin: int | None = None
) -> tuple[float, str]:
    """CPU seconds of a program, and what it printed."""
    with tempfile.TemporaryFile() as out, Path(os.devnull).open("wb") as nothing:
        actions: list[tuple[int, int, int]] = [
            (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, nothing.fileno(), 2),
        ]
        if stdin is not None:
            actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
        pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{argv[0]}: exit code {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, text


def live(python: str, path: Path, seconds: int, environment: dict[str, str]) -> float:
    """CPU seconds of `watch` per second, with the lines of 1,000 events arriving every second."""
    lines = path.read_bytes().splitlines(keepends=True)
    each = len(lines) // (seconds * 100)
    reading, writing = os.pipe()
    os.set_inheritable(writing, False)
    child = os.fork()
    if child == 0:
        os.close(reading)
        begin = time.monotonic()
        for tick in range(seconds * 100):
            time.sleep(max(0.0, begin + tick / 100 - time.monotonic()))
            os.write(writing, b"".join(lines[tick * each : (tick + 1) * each]))
        os._exit(0)
    os.close(writing)
    used, _ = cpu([python, __file__, "--one", "live", "-"], environment, reading)
    os.close(reading)
    os.waitpid(child, 0)
    return used / seconds


def as_journal(source: Path, target: Path) -> None:
    """The same records as `journalctl -o json --output-fields=…` writes them."""
    with target.open("w", encoding="ascii") as out:
        for line in source.read_text(encoding="ascii").splitlines():
            match = _LINE.match(line)
            if match is None or match[1] == "EOE":
                continue
            stamp = int(match[2].replace(".", "")) * 1000
            entry = {
                "__CURSOR": "s=" + "0" * 120,
                "__REALTIME_TIMESTAMP": str(stamp),
                "__MONOTONIC_TIMESTAMP": str(stamp)[-9:],
                "_BOOT_ID": "0" * 32,
                "_TRANSPORT": "audit",
                "_AUDIT_TYPE_NAME": match[1],
                "_AUDIT_ID": match[3],
                "_SOURCE_REALTIME_TIMESTAMP": str(stamp),
                "MESSAGE": f"{match[1]} {match[4]}",
            }
            print(json.dumps(entry, separators=(",", ":")), file=out)


def one(name: str, path: str) -> int:
    """What a contender's own process does."""
    if name == "loop":
        return loop(path)
    if name == "live":
        scanner = Scanner(
            Judge(read(policy.load("watch"))), Counts(), now=lambda: int(time.monotonic() * 1000)
        )
        found = 0
        while block := os.read(0, 1 << 20):
            found += sum(1 for _ in scanner.feed(block))
            found += sum(1 for _ in scanner.tick())
        return found
    return ours(path, shortcut=name == "watch")


def compare(
    title: str,
    path: Path,
    contenders: dict[str, tuple[list[str], dict[str, str]]],
    arguments: argparse.Namespace,
) -> dict[str, float]:
    """Medians of CPU seconds by contender, printed with their ratio to `watch`."""
    with path.open("rb") as file:
        records = sum(1 for _ in file)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    said: dict[str, str] = {}
    for turn in range(arguments.rounds):
        for name, (argv, environment) in contenders.items():
            if turn and name in SLOW:
                continue
            words = [str(path) if word == "FILE" else word for word in argv]
            seconds, said[name] = cpu(words, environment)
            taken[name].append(seconds)
    if said["watch"] != said.get("watch, every record parsed", said["watch"]):
        raise SystemExit(f"{title}: the shortcut changes the answer")
    medians = {name: sorted(times)[len(times) // 2] for name, times in taken.items()}
    print(f"\n{title}: {arguments.events:,} starts, {records:,} records")
    for name, seconds in medians.items():
        print(
            f"  {name:30} {seconds:7.3f} s {arguments.events / seconds:10,.0f} starts/s"
            f" {seconds / medians['watch']:6.2f} x"
        )
    return medians


def main() -> None:
    """Run all, print tables, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=150_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--live-seconds", type=int, default=10)
    parser.add_argument(
        "--python", default="/usr/bin/python3", help="runs all contenders; has auparse"
    )
    parser.add_argument("--ausearch", default="ausearch")
    parser.add_argument("--auparse-path", default="", help="where auparse lies, if not installed")
    parser.add_argument("--library-path", default="", help="where libauparse lies, the same")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(one(*arguments.one))
        return
    plain = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    audit = plain | {
        "PYTHONPATH": arguments.auparse_path,
        "LD_LIBRARY_PATH": arguments.library_path,
    }
    own = [arguments.python, __file__, "--one"]
    contenders = {
        "watch": ([*own, "watch", "FILE"], plain),
        "watch, every record parsed": ([*own, "slow", "FILE"], plain),
        "loop of regular expressions": ([*own, "loop", "FILE"], plain),
        "auparse": ([arguments.python, "-c", AUPARSE, "FILE"], audit),
        "ausearch --raw -m EXECVE": (
            [arguments.ausearch, "-if", "FILE", "--raw", "-m", "EXECVE"],
            audit,
        ),
    }
    results: dict[str, object] = {"kernel": platform.release(), "python": arguments.python}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "audit.log"
        for mix, machine in itertools.product(MIXES, MACHINES):
            write(path, arguments.events, mix=mix, machine=machine)
            chosen = {
                name: how
                for name, how in contenders.items()
                if machine == "x86_64" or name not in SLOW
            }
            results[f"{mix} {machine}"] = compare(f"{mix} {machine}", path, chosen, arguments)
        path.unlink()
        print("\nwatch, cost per event as the input grows")
        growth = {}
        for factor in (1, 2, 4, 8):
            path = Path(directory) / "growth.log"
            write(path, arguments.events // 4 * factor, interpreted=0.3)
            seconds = min(cpu([*own, "watch", str(path)], plain)[0] for _ in range(2))
            growth[arguments.events // 4 * factor] = seconds
            print(
                f"  {arguments.events // 4 * factor:8} events {seconds:7.3f} s"
                f" {seconds / (arguments.events // 4 * factor) * 1e6:6.2f} us each"
            )
        results["growth"] = growth
        path = Path(directory) / "live.log"
        write(path, 1000 * arguments.live_seconds, interpreted=0.3)
        as_journal(path, path.with_suffix(".json"))
        print("\nwatch, share of one core at 1,000 executions a second")
        for form in (".json", ".log"):
            share = live(arguments.python, path.with_suffix(form), arguments.live_seconds, plain)
            results[f"live {form}"] = share
            print(f"  {form:6} {share:6.1%}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
