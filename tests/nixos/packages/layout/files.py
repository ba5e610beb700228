"""Files of Debian packages where nixpkgs has them, finding all that they load in the store."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from .order import Order
from .programs import run

TRIPLET = "x86_64-linux-gnu"
LOADER = "ld-linux-x86-64.so.2"

# Debian's directory → nixpkgs'. What comes first wins where both have a name.
PLACES = {
    "usr/sbin": "bin",
    "sbin": "bin",
    "usr/bin": "bin",
    "bin": "bin",
    f"usr/lib/{TRIPLET}": "lib",
    "usr/lib": "lib",
    "lib": "lib",
    "usr/lib64": "lib",
    "usr/libexec": "libexec",
    "usr/include": "include",
    "usr/share": "share",
    "etc": "etc",
}

_UNWANTED = (
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
    "usr/share/bug", "usr/share/bash-completion", "usr/share/zsh", "usr/share/initramfs-tools",
    "etc/init.d", "etc/cron.daily", "etc/default",
)  # fmt: skip

_DATA = (".o", ".a", ".ko", ".efi", ".stub", ".mod", ".module", ".img", ".exec", ".image")
"""Files that begin like programs and are loaded by something else."""

_SHELLS = ("sh", "bash", "dash")


def unpack(order: Order, tree: Path) -> None:
    """The packages' files in one tree, as they would be on Debian."""
    for deb in order.debs:
        if deb.name.endswith(".deb"):
            run("dpkg-deb", "-x", deb, tree)
        else:
            run("tar", "-x", "-f", deb, "-C", tree)
    for path in _UNWANTED:
        shutil.rmtree(tree / path, ignore_errors=True)


def lay(order: Order, tree: Path) -> None:
    """All of the tree as a store path of nixpkgs; nothing is set-id."""
    order.out.mkdir()
    for source, target in PLACES.items():
        folder = tree / source
        if folder.is_dir() and not folder.is_symlink():
            _merge(folder, order.out / target)
    if (order.out / "bin").is_dir() and not (order.out / "sbin").exists():
        (order.out / "sbin").symlink_to("bin")
    settle(order)
    _name_programs(order.out)


def settle(order: Order) -> None:
    """Links lead to where things are now; loaders, libraries and interpreters are the store's."""
    for path in list(files(order.out)):
        if path.is_symlink():
            _redirect(order.out, path)
            continue
        path.chmod(path.stat().st_mode & 0o777 | 0o444)
        if is_elf(path):
            patch(order, path)
        elif path.stat().st_mode & 0o111:
            shebang(order, path)


def files(folder: Path) -> Iterator[Path]:
    """Everything below that is no directory, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path.is_file():
            yield path


def is_elf(path: Path) -> bool:
    """Whether the dynamic loader or the kernel would load it as a program or library."""
    if path.is_symlink() or path.suffix in _DATA:
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def patch(order: Order, path: Path) -> None:
    """Loader and libraries out of the store. DT_RPATH holds for what the libraries load, too."""
    own = [str(order.out / folder) for folder in order.row.get("rpath", [])]
    rpath = ":".join([*own, str(order.libraries)])
    if run("patchelf", "--print-interpreter", path, check=False).strip():
        run("patchelf", "--set-interpreter", order.libraries / LOADER, path)
        run("patchelf", "--force-rpath", "--set-rpath", rpath, path)
    elif run("patchelf", "--print-needed", path, check=False).strip():
        run("patchelf", "--set-rpath", rpath, path)


def shebang(order: Order, path: Path) -> None:
    """The first line of a script names an interpreter of the store, where the row has it."""
    data = path.read_bytes()
    if not data.startswith(b"#!"):
        return
    line, _, rest = data.partition(b"\n")
    words = line[2:].decode().split()
    if words[0].endswith("/env"):
        words = words[1:]
    name = Path(words[0]).name
    own = order.out / "bin" / name
    if name in _SHELLS and "sh" in order.interpreters:
        words[0] = str(order.interpreters["sh"] / "bin/bash")
    elif name == "perl" and "perl" in order.interpreters:
        words[0] = str(order.interpreters["perl"] / "bin/perl")
    elif name.startswith("python3") and "python" in order.interpreters:
        words[0] = str(order.interpreters["python"] / "bin/python3")
    elif own.exists():
        words[0] = str(own)
    else:
        return
    path.write_bytes(f"#!{' '.join(words)}\n".encode() + rest)


def wrap(order: Order, program: Path, appended: dict[str, str]) -> None:
    """A program in the place of `program` that appends to variables and runs it."""
    real = program.with_name(f".{program.name}-wrapped")
    program.rename(real)
    lines = "".join(f'  append("{name}", "{value}");\n' for name, value in appended.items())
    source = f"""\
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void append(const char *name, const char *value) {{
  const char *old = getenv(name);
  char *both;
  if (asprintf(&both, "%s%s%s", old ? old : "", old ? ":" : "", value) < 0) exit(127);
  setenv(name, both, 1);
}}

int main(int count, char **arguments) {{
  (void)count;
{lines}  execv("{real}", arguments);
  return 127;
}}
"""
    run("gcc", "-x", "c", "-", "-O", "-o", program, *link_flags(order), stdin=source)


def link_flags(order: Order) -> tuple[str, str]:
    """For a program that is compiled here and runs from the store."""
    return (
        f"-Wl,--dynamic-linker={order.libraries}/{LOADER}",
        f"-Wl,-rpath,{order.libraries}",
    )


def _merge(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        goal = target / path.name
        if path.is_dir() and not path.is_symlink():
            if path.name != TRIPLET:  # laid out before
                _merge(path, goal)
        elif not os.path.lexists(goal):
            shutil.move(path, goal)


def _name_programs(out: Path) -> None:
    """Units, rules and bus services name the programs beside them by their paths in the store.

    Other programs are found by the links of helped.nix.
    """
    folders = [out / "bin", out / "lib/udev"]
    own = {path.name: path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    for place in ("lib/systemd", "lib/udev", "lib/sysctl.d", "lib/tmpfiles.d", "share/dbus-1"):
        for path in files(out / place):
            if not path.is_symlink() and not is_elf(path):
                _name_own(path, out, own)


def _name_own(path: Path, out: Path, own: dict[str, Path]) -> None:
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return

    def store(program: str) -> str:
        return str(own.get(program, f"/usr/bin/{program}"))

    new = re.sub(r"(?<![\w/])/(?:usr/)?lib/(systemd|udev)/", rf"{out}/lib/\1/", text)
    new = re.sub(
        r"(?<![\w/])/(?:usr/)?s?bin/([\w.-]+)",
        lambda found: str(own.get(found[1], found[0])),
        new,
    )
    # systemd looks a bare name up in directories that are compiled into it, udev beside its rules.
    new = re.sub(r"(?m)^(Exec\w+=[-@:+!|]*)([\w.-]+)(?=\s|$)", lambda m: m[1] + store(m[2]), new)
    if path.suffix == ".rules":
        new = re.sub(r'(?<==")([\w.-]+)(?=[ "])', lambda m: str(own.get(m[1], m[1])), new)
    if new != text:
        path.write_text(new)


def _redirect(out: Path, link: Path) -> None:
    goal = str(link.readlink())
    if goal.startswith("/nix/"):
        return
    if goal.startswith("/"):
        for source, target in PLACES.items():
            if goal.startswith(f"/{source}/"):
                moved = out / target / goal.removeprefix(f"/{source}/")
                link.unlink()
                link.symlink_to(os.path.relpath(moved, link.parent))
                break
    if not link.exists():
        # Into another package, or between directories that are one here.
        same = [path for path in out.rglob(Path(goal).name) if not path.is_symlink()]
        link.unlink()
        if same:
            link.symlink_to(os.path.relpath(same[0], link.parent))
