"""Block devices in sysfs: small readers that tell nothing where nothing is."""

from __future__ import annotations

from pathlib import Path

CLASS = Path("/sys/class/block")


def node(name: str) -> Path:
    """A device's directory, by its kernel name."""
    return CLASS / name


def attribute(directory: Path, *names: str) -> str:
    """The first of these attributes that says anything, as it prints; empty where none does."""
    for name in names:
        try:
            value = (directory / name).read_text(errors="replace")
        except OSError:
            continue
        printable = "".join(c for c in value if c.isprintable()).strip()
        if printable:
            return printable
    return ""


def entries(directory: Path) -> list[str]:
    """The names in a directory, sorted; none where it is not."""
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []


def number(name: str) -> str:
    """A device's number as MAJOR:MINOR."""
    return attribute(node(name), "dev")


def partitions(name: str) -> list[str]:
    """The kernel names of a disk's partitions."""
    return [entry for entry in entries(node(name)) if (node(name) / entry / "partition").exists()]


def disks_below(name: str) -> frozenset[str]:
    """The kernel names of the whole disks that a device stands on; its own, if on nothing."""
    slaves = entries(node(name) / "slaves")
    if slaves:
        return frozenset(disk for slave in slaves for disk in disks_below(slave))
    if (node(name) / "partition").exists():
        return frozenset({node(name).resolve().parent.name})
    return frozenset({name})
