"""The Debian packages that packages.toml names, with all that they need, as files with hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import tomllib
from pathlib import Path
from typing import Any

from tests.nixos.lab.root import Root
from tests.vm.vmlab import cache, debian
from tests.vm.vmlab.process import LabError, run

TABLE = Path(__file__).parents[1] / "packages/packages.toml"

# Where the clock is behind, the lists of testing come from the future.
_OLD_CLOCK = ("-o", "Acquire::Check-Valid-Until=false", "-o", "Acquire::Check-Date=false")

WHEELS = "python-wheels"
"""The installer's Python dependencies, which Debian has not all: a tar archive of the wheels."""


def names() -> list[str]:
    """Every Debian package that a row of the table names; patterns match what these bring along."""
    return [name for name in _named("debian") if not name.endswith("*") and name != WHEELS]


def crates() -> list[Path]:
    """Sources of the Rust crates that Debian lacks, below PARANOID_CRATES."""
    folder = Path(os.environ.get("PARANOID_CRATES", "/nonexistent"))
    found = [folder / name for name in _named("crates")]
    for path in found:
        if not (path / "Cargo.toml").exists():
            raise LabError(f"PARANOID_CRATES={folder}: there is no source of the crate {path.name}")
    return found


def _named(key: str) -> list[str]:
    rows = tomllib.loads(TABLE.read_text())
    return sorted({name for row in rows.values() for name in row.get(key, [])})


def build(root: Root) -> Path:
    """A directory with the files and pool.json: name → path, sha256, has shared libraries."""
    wanted = names()
    dependencies = debian.python_dependencies()
    parts = [root.tree.parent.name, *wanted, *dependencies, *map(str, crates())]
    key = cache.key(*parts, Path(__file__).read_bytes())
    return cache.build("nixos-pool", key, lambda work: _make(work, root, wanted))


def _make(work: Path, root: Root, wanted: list[str]) -> None:
    archives = work / "archives"
    (archives / "partial").mkdir(parents=True)
    root.run("apt-get", "update", "--quiet=2", *_OLD_CLOCK)
    # An empty list of installed packages: every dependency is fetched, down to the C library.
    root.run(
        "apt-get", "install", "--download-only", "--yes", "--quiet=2", "--no-install-recommends",
        "-o", "Dir::State::status=/dev/null", "-o", f"Dir::Cache::archives={archives}",
        *wanted,
    )  # fmt: skip
    _wheels(root, archives / f"{WHEELS}.tar")
    for crate in crates():
        _pack(crate, archives / f"crate-{crate.name}.tar", crate.name)
    final = cache.directory() / "nixos-archives"
    final.mkdir(exist_ok=True)
    index: dict[str, dict[str, Any]] = {}
    for file in sorted(archives.iterdir()):
        if not file.is_file() or file.suffix not in (".deb", ".tar"):
            continue
        name = file.name.split("_")[0].removesuffix(".tar")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        libraries = file.suffix == ".deb" and _has_libraries(file)
        # By content: the same file of another pool is the same path, so nothing is built anew.
        kept = final / digest / f"{name}{file.suffix}"
        kept.parent.mkdir(exist_ok=True)
        file.replace(kept)
        index[name] = {"path": str(kept), "sha256": digest, "libraries": libraries}
    # Here they are the outputs of debian.nix's derivations, which need not be built then.
    root.run("nix-store", "--add-fixed", "sha256", *(entry["path"] for entry in index.values()))
    (work / "pool.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


_LIBRARY = re.compile(r" \./(?:usr/)?lib/x86_64-linux-gnu/(?:systemd/)?lib[^/\s]*\.so")


def _has_libraries(deb: Path) -> bool:
    return _LIBRARY.search(run("dpkg-deb", "--contents", deb)) is not None


def _wheels(root: Root, archive: Path) -> None:
    site = archive.with_suffix(".site")
    debian.install_wheels(root.tree, site)
    _pack(site, archive, "")
    shutil.rmtree(site)


def _pack(folder: Path, archive: Path, inside: str) -> None:
    """A tar archive with the same bytes for the same files."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(folder.rglob("*")):
            if "__pycache__" not in path.parts:
                name = str(Path(inside) / path.relative_to(folder))
                tar.add(path, name, recursive=False, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 1, 0, 0, "", ""
    entry.mode |= 0o444
    return entry
