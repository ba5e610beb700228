"""Debian's own systemd, sshd, nftables and audit, as the installed test system runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.vm.vmlab import cache, debian
from tests.vm.vmlab.process import run

_PACKAGES = cache.REPOSITORY / "tests/minios/debian/packages.txt"
_MODULES = cache.REPOSITORY / "tests/minios/debian/modules.txt"

# Never read on the machine; together they are half of the root.
_REMOVED = (
    "etc/machine-id",
    "etc/hostname",
    "etc/fstab",
    "etc/sysctl.d/99-sysctl.conf",
    # What is started is what minios declares.
    "etc/systemd/system",
    "etc/rc?.d",
    "etc/init.d",
    "etc/cron.daily",
    "etc/apt",
    "etc/dpkg",
    # The machine's own are made by the install.
    "etc/ssh/ssh_host_*",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/lintian",
    "usr/share/common-licenses",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/lib/udev/hwdb.d",
    "usr/lib/udev/hwdb.bin",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl",
)

_QUERIES = ("KexAlgorithms", "Ciphers", "MACs", "HostKeyAlgorithms")


def build(live: Path) -> Path:
    """A directory with root/{usr,etc} and algorithms.json, those that its OpenSSH knows.

    `live` is what debian.build() made: the kernel's modules come from there.
    """
    name = cache.key(live.name, cache.contents([_PACKAGES, _MODULES, Path(__file__)]))
    return cache.build("userland", name, lambda work: _make(work, live))


def _make(work: Path, live: Path) -> None:
    tree = work / "tree"
    debian.bootstrap(tree, debian.listed(_PACKAGES))
    # `verify` and `watch` run there, and what they load must come from the store.
    debian.install_python(tree)
    known = {name for query in _QUERIES for name in run("chroot", tree, "ssh", "-Q", query).split()}
    (work / "algorithms.json").write_text(json.dumps(sorted(known)))
    _copy_modules(live / "debian/kernel", tree / "usr/lib/modules")
    for pattern in _REMOVED:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    root = work / "root"
    root.mkdir()
    for name in ("usr", "etc"):
        (tree / name).rename(root / name)
    shutil.rmtree(tree)


def _copy_modules(kernel: Path, target: Path) -> None:
    """The modules of modules.txt with all that they need, indexed."""
    version = (kernel / "version").read_text().strip()
    lines = (kernel / "modules/modules.dep").read_text().splitlines()
    needs = dict(line.split(":", 1) for line in lines)
    for name in debian.listed(_MODULES):
        for file in [path for path in needs if Path(path).name.split(".")[0] == name]:
            for one in (file, *needs[file].split()):
                copy = target / version / one
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(kernel / "modules" / one, copy)
    for index in ("modules.builtin", "modules.order"):
        shutil.copyfile(kernel / "modules" / index, target / version / index)
    run("depmod", "-b", target.parents[2], version)
