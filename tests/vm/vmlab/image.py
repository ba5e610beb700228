"""The test image: iso/'s own unit and scripts on Debian's live root, as a bootable ISO 9660."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.vm.vmlab import cache
from tests.vm.vmlab.lab import Lab
from tests.vm.vmlab.process import LabError, run

PROGRAMS = ("grub-mkrescue", "xorriso", "mformat", "busybox")

CONSOLES = "console=tty0 console=ttyS0,115200n8"

_PARTS = cache.REPOSITORY / "tests/vm/image"
_ISO = cache.REPOSITORY / "iso"

_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
_SETTINGS = "/etc/paranoid/autoinstall.conf"
_ANSWERS = "/etc/paranoid/answers.toml"

# What is filled in between at signs, as iso/image.nix does it.
_FILLED = {
    "@autoinstall@": "/usr/local/bin/autoinstall",
    "@path@": _PATH,
    "@settings@": _SETTINGS,
    "@shell@": "/bin/bash",
}

_UNITS = (
    _ISO / "paranoid-install.service",
    _ISO / "paranoid-shell@.service",
    _PARTS / "live-prepare.service",
)
_STARTED = ("paranoid-install.service", "live-prepare.service")

# iso/live.nix has no gettys and no seats: the consoles belong to the installer. The others are
# Debian's own way to kexec, which would load what /boot of the live system holds.
_MASKED = ("getty.target", "systemd-logind.service", "kexec.service", "kexec-load.service")

_MODULES = ("sr_mod", "isofs")


def build(
    lab: Lab,
    image: Path,
    parameters: str,
    answers: Mapping[str, object],
    *,
    when_installed: str = "boot",
    units: Mapping[str, str] | None = None,
) -> None:
    """Write a hybrid image for BIOS and UEFI that boots with these kernel parameters.

    `answers` are those of its answer file, beside the systems that it carries. It refuses by
    powering off, so that a machine with nobody in front of it ends. `units` are started at boot
    as well. Takes a few seconds.
    """
    tree, overlay = image.with_suffix(".tree"), image.with_suffix(".overlay")
    _overlay(overlay, lab, answers, when_installed)
    _start(overlay / "image/etc/systemd/system", units or {})
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "images").mkdir()
    _pack(overlay, tree / "boot/medium.cpio")
    shutil.copy(lab.store.kernel, tree / "boot/vmlinuz")
    shutil.copy(lab.store.initrd, tree / "boot/initrd")
    for name, file in (
        ("live-root", lab.root),
        ("live-store", lab.store.image),
        ("live-project", lab.project),
    ):
        shutil.copy(file, tree / f"images/{name}.squashfs")
    menu = (_PARTS / "grub.cfg").read_text()
    (tree / "boot/grub/grub.cfg").write_text(
        menu.replace("@parameters@", f"{CONSOLES} {parameters}")
    )
    run("grub-mkrescue", "-o", image, tree, seconds=300)
    shutil.rmtree(tree)
    shutil.rmtree(overlay)


def _overlay(target: Path, lab: Lab, answers: Mapping[str, object], when_installed: str) -> None:
    """What the initrd of the image has more: modules, stage 1's part, files for the live root."""
    root = target / "image"
    units = root / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    for unit in _UNITS:
        (units / unit.name).write_text(_fill(unit.read_text()))
    for name in _STARTED:
        (units / "multi-user.target.wants" / name).symlink_to(f"../{name}")
    for name in _MASKED:
        (units / name).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")

    (root / "usr/local/bin").mkdir(parents=True)
    for name in ("autoinstall", "boot-installed"):
        shutil.copy(_ISO / name, root / "usr/local/bin" / name)

    (root / "etc/paranoid").mkdir()
    said = {"system": list(lab.store.toplevels.values()), **answers}
    (root / _ANSWERS.lstrip("/")).write_text(
        # A string, a number and a list of strings are written in TOML as in JSON.
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in said.items())
    )
    settings = {
        "ANSWERS": _ANSWERS,
        "WHEN_INSTALLED": when_installed,
        "WHEN_REFUSED": "poweroff",
    }
    (root / _SETTINGS.lstrip("/")).write_text(
        "".join(f"{key}={value}\n" for key, value in settings.items())
    )
    shutil.copy(_PARTS / "medium.sh", target / "medium.sh")
    _modules(lab.root.parent / "debian/kernel/modules", target / "lib/modules/medium")


def _start(directory: Path, units: Mapping[str, str]) -> None:
    for name, text in units.items():
        (directory / name).write_text(_fill(text))
        (directory / "multi-user.target.wants" / name).symlink_to(f"../{name}")


def _fill(text: str) -> str:
    for word, value in _FILLED.items():
        text = text.replace(word, value)
    return text


def _modules(source: Path, target: Path) -> None:
    """The modules that reading the medium takes, flat, in the order to load them in."""
    needs = dict(line.split(":", 1) for line in (source / "modules.dep").read_text().splitlines())
    order: list[str] = []
    for name in _MODULES:
        found = [path for path in needs if Path(path).name.split(".")[0] == name]
        if not found:
            raise LabError(f"{source}: no module {name}")
        # modules.dep lists what a module needs, the deepest last.
        order += [p for p in (*reversed(needs[found[0]].split()), found[0]) if p not in order]
    target.mkdir(parents=True)
    for path in order:
        shutil.copy(source / path, target)
    (target / "load-order").write_text("".join(f"{Path(path).name}\n" for path in order))


def _pack(tree: Path, archive: Path) -> None:
    """A cpio archive in the kernel's form (initramfs buffer format); all of it is root's."""
    script = 'cd "$1" && find . | busybox cpio -o -H newc -R 0:0 > "$2"'
    run("sh", "-c", script, "pack", tree, archive.resolve())
