"""Measures what an install costs besides its copy: `python -m bench.fixed [--runs N]`, as root.

An install for BIOS onto an image file, beside a shell script with the same parted, mkfs, mount and
nixos-generate-config commands, in turn. Of the install, what is no overhead is taken off, and
shown: the store's step, nixos-install and grub-install, and the host keys, which such a script
leaves to the first boot. What remains is Python's start, the probing of disks, the checks, the
journal, the record and all syncs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.shell import run
from tests.loop import conftest as loop

_PARTS = {
    "store": ("nix copy", "nix-store", "copy "),
    "nixos-install": ("nixos-install", "TMPDIR="),
    "boot loader": ("grub-install", "bootctl"),
    "host keys": ("ssh-keygen",),
}

# As the article has them, for BIOS; the script ends with what was mounted released again.
_SCRIPT = """
truncate --size=3G {image}
disk=$(losetup --find --show --partscan {image})
parted --script --align optimal $disk unit MiB mklabel msdos \
  mkpart primary ext4 1MiB 512MiB mkpart primary ext4 512MiB 100% set 1 boot on
partx --update $disk
mkfs.ext4 -q -F -L boot ${{disk}}p1
mkfs.ext4 -q -F -L nix ${{disk}}p2
mount -t tmpfs -o size=2G,mode=755 none {root}
mkdir -p {root}/boot {root}/nix {root}/etc/nixos {root}/srv {root}/var/lib {root}/var/log
mount ${{disk}}p1 {root}/boot
mount ${{disk}}p2 {root}/nix
mkdir -p {root}/nix/persist/{{etc/nixos,srv,var/lib,var/log}}
for place in etc/nixos srv var/lib var/log; do
  mount -o bind {root}/nix/persist/$place {root}/$place
done
nixos-generate-config --root {root}
sync --file-system {root}/nix
umount --recursive {root}
losetup --detach $disk
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="bench.fixed", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (medians are shown)")
    asked = parser.parse_args(argv)
    loop.own_mounts()
    system = loop.build_system()
    installs: list[dict[str, float]] = []
    scripts: list[float] = []
    with tempfile.TemporaryDirectory(prefix="fixed-") as directory:
        key = loop.make_key(Path(directory))
        for number in range(asked.runs):
            with _place(Path(directory), number) as bench:
                installs.append(_install(bench, system, key))
            with _place(Path(directory), number + asked.runs) as bench:
                scripts.append(_script(bench))
    _show(installs, scripts)


@contextmanager
def _place(directory: Path, number: int) -> Iterator[loop.Bench]:
    own = directory / str(number)
    own.mkdir()
    with loop.make_bench(own) as bench:
        try:
            yield bench
        finally:
            for held in bench.left()[::-1]:
                run(*(("losetup", "--detach") if held.startswith("/dev/") else ("umount",)), held)
            bench.image.unlink()


def _install(bench: loop.Bench, system: str, key: Path) -> dict[str, float]:
    """Seconds of one install: the whole, each part that is no overhead, and the rest."""
    start = time.monotonic()
    outcome = bench.run(
        *("--disk", str(bench.image), "--image-size", "3G", "--tmpfs-size", "2G"),
        *("--ssh-key", str(key), "--system", system, "--json"),
    )
    whole = time.monotonic() - start
    if outcome.code != 0:
        raise RuntimeError(f"exit {outcome.code}\n{outcome.err}")
    parts = dict.fromkeys(_PARTS, 0.0)
    # What an action tells while it runs belongs to it: it ends where the next begins.
    events = [json.loads(line) for line in outcome.out.splitlines()]
    borders = [event for event in events if event["event"] in ("action", "step")]
    for event, following in itertools.pairwise(borders):
        if event["event"] == "action":
            for part, beginnings in _PARTS.items():
                if event["line"].startswith(beginnings):
                    parts[part] += following["time"] - event["time"]
    absent = [part for part, seconds in parts.items() if seconds == 0]
    if absent:
        raise RuntimeError(f"no action of the install is one of: {', '.join(absent)}")
    return {"whole": whole, **parts, "rest": whole - sum(parts.values())}


def _script(bench: loop.Bench) -> float:
    """Seconds of the shell script."""
    bench.root.mkdir()
    script = _SCRIPT.format(image=bench.image, root=bench.root)
    start = time.monotonic()
    run("bash", "-euo", "pipefail", "-c", script, env=bench.environment)
    return time.monotonic() - start


def _show(installs: Sequence[dict[str, float]], scripts: Sequence[float]) -> None:
    shell = statistics.median(scripts)
    print(f"load {os.getloadavg()[0]:.1f}; medians of {len(scripts)} in seconds")
    for part in installs[0]:
        print(f"{part:16} {statistics.median(one[part] for one in installs):6.2f}")
    print(f"{'shell script':16} {shell:6.2f}")
    more = statistics.median(one["rest"] for one in installs) - shell
    print(f"{'more than it':16} {more:6.2f}")


if __name__ == "__main__":
    main()
