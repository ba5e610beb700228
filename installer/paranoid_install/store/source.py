"""Where the bytes of the source store are: a directory, and perhaps a squashfs image below it.

A live system's /nix/store is an overlay over a squashfs mounted at /nix/.ro-store, or that
squashfs itself; it is found in the kernel's mount table (proc_pid_mountinfo(5)). Read through the
mounted file system a squashfs is decompressed on one core and small files again and again; the
image itself can be read on all cores.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from paranoid_install.mounts import MountEntry, mount_table
from paranoid_install.store.closure import STORE

# Options of an overlay keep the paths of the time of mounting, which is in the initrd.
_INITRD_ROOTS = ("", "/sysroot", "/mnt-root")
_SUPERBLOCK = 96
_MAGIC = b"hsqs"


@dataclass(frozen=True)
class Image:
    """A squashfs that is a store: the file or block device, and where it is mounted.

    `above` is the directory whose entries hide those of the image, if there is one.
    """

    file: Path
    point: Path
    above: Path | None = None

    def shown(self) -> frozenset[str]:
        """The entries of the store that come from the image. Raises OSError."""
        names = set(os.listdir(self.point))  # noqa: PTH208 - names, not Paths
        if self.above is not None:
            names -= set(os.listdir(self.above))  # noqa: PTH208
        return frozenset(names)


@dataclass(frozen=True)
class Source:
    """The directory that shows every store path, and the image most of them come from."""

    directory: Path
    image: Image | None = None


def local_directory(store: str) -> Path | None:
    """The directory of the store at URI `store`, None if it is not one of this machine's.

    The forms are those of Nix's manual, "Store URL format", as far as they name a local store.
    """
    scheme, _, query = store.partition("?")
    if scheme.startswith("/"):
        return Path(scheme + STORE)
    if scheme not in {"", "auto", "daemon", "local"}:
        return None
    roots = parse_qs(query).get("root", [""]) if scheme == "local" else [""]
    real = parse_qs(query).get("real", []) if scheme == "local" else []
    return Path(real[0]) if real else Path(roots[0].rstrip("/") + STORE)


def image_mount(
    mounts: Sequence[MountEntry], directory: str
) -> tuple[MountEntry, MountEntry | None] | None:
    """The squashfs that `directory` shows and, if it does so through one, the overlay.

    None if the topmost mount at `directory` is neither, or only a part of the image.
    """
    tops = [mount for mount in mounts if mount.mount_point == directory]
    if not tops:
        return None
    top = tops[-1]
    if top.root != "/":
        return None
    if top.fs_type == "squashfs":
        return top, None
    if top.fs_type != "overlay":
        return None
    layers = [path for value in _values(top, "lowerdir") for path in value.split(":")]
    for path in [*layers, *_values(top, "lowerdir+")]:
        for root in _INITRD_ROOTS:
            for mount in reversed(mounts):
                if (
                    mount.fs_type == "squashfs"
                    and mount.root == "/"
                    and root + mount.mount_point == path
                ):
                    return mount, top
    return None


def locate(directory: Path) -> Source:
    """The source for a store shown at `directory`. Reads the mount table; raises OSError."""
    found = image_mount(mount_table(), os.path.realpath(directory))
    if found is None:
        return Source(directory)
    squashfs, overlay = found
    point = Path(squashfs.mount_point)
    # Another file system may have been mounted over it since.
    shown = point.stat().st_dev
    if squashfs.device_number != f"{os.major(shown)}:{os.minor(shown)}":
        return Source(directory)
    file = _image_file(squashfs)
    if file is None:
        return Source(directory)
    return Source(directory, Image(file, point, _above(overlay)))


def _above(overlay: MountEntry | None) -> Path | None:
    if overlay is None:
        return None
    for path in _values(overlay, "upperdir"):
        for root in _INITRD_ROOTS:
            candidate = Path(path.removeprefix(root) if path.startswith(root + "/") else path)
            if candidate.is_dir():
                return candidate
    return None


def _image_file(mount: MountEntry) -> Path | None:
    """What to read the image from: the file behind the loop device, else the device."""
    kernel = Path("/sys/dev/block") / mount.device_number
    device = Path("/dev") / kernel.resolve().name
    if not _is_device(device, mount.device_number):
        device = Path(mount.source)
    if not _is_device(device, mount.device_number):
        return None
    head = _head(device)
    if not head.startswith(_MAGIC):
        return None
    try:
        backing = Path((kernel / "loop/backing_file").read_text(encoding="utf-8").rstrip("\n"))
        # The name may have been given to another file since, or be of another root.
        if backing.is_file() and _head(backing) == head:
            return backing
    except OSError:
        # No loop device, or its file is out of sight: the device shows the same bytes.
        return device
    return device


def _is_device(path: Path, number: str) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    shown = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return stat.S_ISBLK(status.st_mode) and shown == number


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SUPERBLOCK)


def _values(mount: MountEntry, name: str) -> tuple[str, ...]:
    """Values of the file system's option `name`, given once or several times.

    A path with a comma or colon is escaped there; it then names no mount point of the table, and
    the store is read as the directory it is.
    """
    pairs = (option.partition("=") for option in mount.super_options)
    return tuple(value for key, _, value in pairs if key == name)
