"""The ways to bring a closure into the store of a new root, each as one command line.

Each ends with the data on the disk (`sync -f`) and, but for the floor, with a registered closure.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.scene import Source

OURS = "paranoid-install"
UNVERIFIED = "paranoid-install, unverified"
STARTED = "paranoid-install, its start included"
NIXOS_INSTALL = "nixos-install's own copy"
XARGS = "xargs -P8 cp + load-db"
FLOOR = "dd of the same bytes"
READY = "ready"
"""What a method that waits says before it reads a line and begins."""

NIX_CONFIG = (
    "sandbox = false\nsubstituters =\nbuild-users-group =\nexperimental-features = nix-command\n"
)


@dataclass(frozen=True)
class Method:
    """`script` is for bash. `registers` says whether a valid closure is its result.

    One that `waits` prints READY, and begins when it has read a line.
    """

    name: str
    script: str
    registers: bool = True
    waits: bool = False


def ours(source: Source, root: Path, *, verify: bool = True, workers: int | None = None) -> Method:
    """This installer's copy, as a step of an install: bench.fixed has the interpreter's start."""
    options = [] if verify else ["--no-verify"]
    options += [] if workers is None else ["--workers", str(workers)]
    script = _ours(source, root, "--wait", *options)
    return Method(OURS if verify else UNVERIFIED, script, waits=True)


def started(source: Source, root: Path) -> Method:
    """The same as a program of its own, as if nothing had to be done before."""
    return Method(STARTED, _ours(source, root))


def _ours(source: Source, root: Path, *options: str) -> str:
    words = (sys.executable, "-m", "bench.ours", source.corpus.toplevel, str(root))
    return shlex.join((*words, str(source.root), *options))


def all_of(source: Source, root: Path, blob: Path) -> list[Method]:
    """Every way, for one source; `blob` is a file of as many bytes as the closure's files have."""
    top, store = source.corpus.toplevel, source.root / "nix/store"
    # What a build of closureInfo hands to disko: it need not ask the source store.
    register = (
        f"nix-store --store {source.root} --dump-db {' '.join(source.corpus.paths)}"
        f" | nix-store --store {root} --load-db"
    )
    names = " ".join(f"{store}/{Path(path).name}" for path in source.corpus.paths)
    flush = f"sync -f {root}"
    return [
        ours(source, root),
        ours(source, root, verify=False),
        started(source, root),
        Method(
            NIXOS_INSTALL,
            f"nix-env --store {root} --extra-substituters 'local?root={source.root}&trusted=1'"
            f" -p {root}/nix/var/nix/profiles/system --set {top} && {flush}",
        ),
        Method(
            "nix copy",
            f"nix copy --no-check-sigs --from {source.root} --to {root} {top} && {flush}",
        ),
        Method(
            "cp -a + load-db",
            f"mkdir -p {root}/nix/store && cp -a {names} {root}/nix/store && {register} && {flush}",
        ),
        Method(
            XARGS,
            f"mkdir -p {root}/nix/store"
            f" && echo {names} | xargs -P8 -n8 cp -a -t {root}/nix/store"
            f" && {register} && {flush}",
        ),
        Method(FLOOR, f"dd if={blob} of={root}/blob bs=4M status=none && {flush}", registers=False),
    ]
