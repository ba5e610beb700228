"""The live system's store: minios built by nix-build, and the image it travels in."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.vm.vmlab import cache
from tests.vm.vmlab.process import run

_MINIOS = cache.REPOSITORY / "tests/minios"
_POLICY = cache.REPOSITORY / "installer/paranoid_install/policy"
_NIX_LIB = cache.REPOSITORY / "nix/lib"
_LIVE_INIT = cache.REPOSITORY / "tests/vm/live/stage1.sh"

# Its own store, so that nothing is put into the host's; a builder finds it as /nix/store only
# in Nix's sandbox, so that a host without the namespaces for it must be told.
_OPTIONS = (
    *("--option", "build-users-group", ""),
    *("--option", "substitute", "false"),
    *("--option", "sandbox", "true"),
    *("--option", "sandbox-fallback", "false"),
)

SYSTEMS = ("bios", "uefi")
DEBIAN_SYSTEMS = ("debian-bios", "debian-uefi")
"""Those that Debian's systemd runs; the others are busybox's."""


@dataclass(frozen=True)
class Store:
    """The store image with what is in it, and the kernel and initrd of the live system."""

    image: Path
    kernel: Path
    initrd: Path
    toplevels: dict[str, str]


def build(live: Path, userland: Path | None = None) -> Store:
    """The store for the live root that debian.build() made.

    With what userland.build() made, the systems that Debian's systemd runs are in it, and
    busybox's are not.
    """
    name = cache.key(
        live.name,
        userland.name if userland else "",
        cache.contents([_MINIOS, _POLICY, _NIX_LIB, _LIVE_INIT, Path(__file__)]),
    )
    made = cache.build("store", name, lambda work: _make(work, live, userland))
    return Store(
        image=made / "store.squashfs",
        kernel=made / "vmlinuz",
        initrd=made / "initrd",
        toplevels=json.loads((made / "toplevels.json").read_text()),
    )


def _make(work: Path, live: Path, userland: Path | None) -> None:
    nix = live / "nix"

    def real(path: str) -> Path:
        return nix / path.lstrip("/")

    names = DEBIAN_SYSTEMS if userland else SYSTEMS
    given = ("--arg", "userland", userland) if userland else ()
    attributes = [*(f"systems.{name}" for name in names), "channel", "live.kernel", "live.initrd"]
    built = run(
        "nix-build", _MINIOS, "--store", nix, *_OPTIONS, "--no-out-link",
        "--arg", "debian", live / "debian", *given,
        *(word for a in attributes for word in ("-A", a)),
    ).split()  # fmt: skip
    *systems, channel, kernel, initrd = built
    toplevels = dict(zip(names, systems, strict=True))
    shutil.copy(real(kernel) / "bzImage", work / "vmlinuz")
    shutil.copy(real(initrd) / "initrd", work / "initrd")
    (work / "toplevels.json").write_text(json.dumps(toplevels))

    closure = run("nix-store", "--store", nix, "-qR", *toplevels.values(), channel).split()
    tree = work / "tree"
    tree.mkdir()
    tree.chmod(0o755)
    for path in closure:
        run("cp", "-a", real(path), tree)
    # The name and form that NixOS' images have, for nix-store --load-db.
    registration = run("nix-store", "--store", nix, "--dump-db", *closure)
    (tree / "nix-path-registration").write_text(registration)
    run(
        "mksquashfs", tree, work / "store.squashfs", "-comp", "zstd",
        "-Xcompression-level", "6", "-all-root", "-quiet", "-no-progress",
    )  # fmt: skip
    run("chmod", "-R", "u+w", tree)
    shutil.rmtree(tree)
