"""What an install left on an image, in a form that two installs can be compared by."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

from .conftest import Bench, opened_image

Tree = dict[str, tuple[str, int, bytes]]
"""For each path its mode, its owner, and its contents."""

# What differs from install to install by design, below the persist root and Nix's own state.
RANDOM = (
    "ssh_host_",
    "machine-id",
    "record.json",
    "journal.jsonl",
    "gcroots/auto/",
    "db/",
    ".links",
)


def tree(bench: Bench, name: str) -> Tree:
    """Every path on both file systems: mode, owner, and contents but for what is random."""
    directory = bench.image.parent / name
    directory.mkdir()
    found = {}
    with opened_image(bench.image, directory) as place:
        uuids = [
            (_uuid(top), f"the UUID of {top.name}".encode()) for top in (place.boot, place.nix)
        ]
        for top in (place.boot, place.nix):
            for path in sorted(top.rglob("*")):
                status = path.lstat()
                relative = f"{top.name}/{path.relative_to(top)}"
                known = not any(word in relative for word in RANDOM)
                if path.is_symlink():
                    content = str(path.readlink()).encode() if known else b""
                else:
                    content = path.read_bytes() if known and path.is_file() else b""
                for uuid, words in uuids:
                    # Each install has its own, and must name no other.
                    content = content.replace(uuid, words)
                if relative.startswith("nix/var/nix/gcroots/auto/"):
                    relative = "nix/var/nix/gcroots/auto/…"
                found[relative] = (stat.filemode(status.st_mode), status.st_uid, content)
    return {
        path: entry
        for path, entry in found.items()
        # GRUB's own files carry the file system's UUID, its environment block a time.
        if not path.startswith(("boot/grub/i386-pc", "boot/grub/grubenv", "boot/grub/fonts"))
    }


def _uuid(place: Path) -> bytes:
    argv = ["findmnt", "--noheadings", "--output", "UUID", str(place)]
    return subprocess.run(argv, capture_output=True, check=True).stdout.strip()


def difference(expected: Tree, found: Tree) -> str:
    """In what two trees differ, in a few words; empty where they do not."""
    if missing := sorted(expected.keys() - found.keys()):
        return f"{len(missing)} paths are missing, the first {missing[0]}"
    if more := sorted(found.keys() - expected.keys()):
        return f"{len(more)} paths too many, the first {more[0]}"
    changed = sorted(path for path, entry in expected.items() if found[path] != entry)
    return f"{len(changed)} paths differ, the first {changed[0]}" if changed else ""
