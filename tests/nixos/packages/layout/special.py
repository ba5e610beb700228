"""Packages that nixpkgs lays out in a way of its own."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .files import (
    TRIPLET,
    files,
    is_elf,
    lay,
    settle,
    wrap,
)
from .order import Order
from .programs import run


def libraries(order: Order, tree: Path) -> None:
    """Shared libraries alone, each looking for the others beside itself."""
    target = order.out / "lib"
    target.mkdir(parents=True)
    for place in (f"usr/lib/{TRIPLET}", "usr/lib64", f"usr/lib/{TRIPLET}/systemd"):
        for path in sorted((tree / place).glob("*.so*")):
            if not path.is_dir() and not os.path.lexists(target / path.name):
                shutil.move(path, target / path.name)
    loader = target / "ld-linux-x86-64.so.2"
    for path in list(files(target)):
        if path.is_symlink():
            name = path.readlink().name
            path.unlink()
            if (target / name).exists() and name != path.name:
                path.symlink_to(name)
        elif is_elf(path) and path != loader:
            run("patchelf", "--set-rpath", target, path, check=False)


def shell(order: Order, tree: Path) -> None:
    """bash, which is sh on NixOS."""
    lay(order, tree)
    sh = order.out / "bin/sh"
    sh.unlink(missing_ok=True)
    sh.symlink_to("bash")


def renamed(order: Order, tree: Path) -> None:
    """A program that bears another name on Debian: `names`, new = "old"."""
    lay(order, tree)
    for new, old in order.row["names"].items():
        (order.out / "bin" / new).symlink_to(old)


def one_file(order: Order, tree: Path) -> None:
    """The output is a file: `file`, a path of Debian's, or an empty one."""
    if "file" in order.row:
        [found] = tree.glob(order.row["file"])
        shutil.copy(found, order.out)
    else:
        order.out.touch()


def scripts(order: Order, tree: Path) -> None:
    """Programs that nobody packages, as small as they can be: `scripts`, name = "shell script"."""
    lay(order, tree)
    folder = order.out / "bin"
    folder.mkdir(exist_ok=True)
    places = {**order.interpreters, "out": order.out}
    for name, script in order.row["scripts"].items():
        filled = re.sub(r"@(\w+)@", lambda found: str(places[found[1]]), script)
        program = folder / name
        program.write_text(f"#!{order.interpreters['sh']}/bin/bash\n{filled}\n")
        program.chmod(0o555)


def absent(order: Order, tree: Path) -> None:
    """Programs that Debian has not: each says so and fails."""
    message = "not in the lab: Debian has no such package"
    folder = order.out / "bin"
    folder.mkdir(parents=True)
    for name in order.row["programs"]:
        program = folder / name
        program.write_text(
            f"#!{order.interpreters['sh']}/bin/bash\necho '{name}: {message}' >&2\nexit 127\n"
        )
        program.chmod(0o555)


def certificates(order: Order, tree: Path) -> None:
    """Mozilla's certificates in one file."""
    folder = order.out / "etc/ssl/certs"
    folder.mkdir(parents=True)
    found = sorted((tree / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (folder / "ca-bundle.crt").write_text("".join(path.read_text() for path in found))


def locales(order: Order, tree: Path) -> None:
    """The archive that glibc's localedef makes; Debian's glibc looks in /usr/lib/locale for it."""
    place = tree / "usr/lib/locale"
    place.mkdir(parents=True, exist_ok=True)
    run(
        "localedef", f"--prefix={tree}", "-i", "en_US", "-f", "UTF-8", "en_US.UTF-8",
        environment={"I18NPATH": str(tree / "usr/share/i18n")},
    )  # fmt: skip
    shutil.copytree(place, order.out / "lib/locale", symlinks=True)


def kernel(order: Order, tree: Path) -> None:
    """The image under the name that boot loaders are told, and the modules with their index."""
    order.out.mkdir()
    [modules] = tree.glob("usr/lib/modules/*")
    shutil.move(modules / "vmlinuz", order.out / "bzImage")
    target = order.others.pop("modules", order.out) / "lib/modules"
    target.mkdir(parents=True)
    shutil.copytree(modules, target / modules.name, symlinks=True)
    for link in ("build", "source"):
        (target / modules.name / link).unlink(missing_ok=True)
    run("depmod", "-b", target.parents[1], modules.name)


def perl(order: Order, tree: Path) -> None:
    """Perl, told where its modules are: Debian's directories are compiled into it."""
    lay(order, tree)
    lib = order.out / "lib"
    roots = [
        path
        for pattern in ("perl-base", "perl/5.*", "perl5", "perl5/5.*")
        for path in [*lib.glob(pattern), *(order.out / "share").glob(pattern)]
        if path.is_dir() and not path.is_symlink()
    ]
    wrap(order, order.out / "bin/perl", {"PERL5LIB": ":".join(map(str, roots))})


def perl_module(order: Order, tree: Path) -> None:
    """The modules where nixpkgs' perl.withPackages looks for them."""
    target = order.out / "lib/perl5/site_perl"
    target.mkdir(parents=True)
    for pattern in ("usr/share/perl5", f"usr/lib/{TRIPLET}/perl5/5.*"):
        for folder in tree.glob(pattern):
            shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True)
    settle(order)


def python(order: Order, tree: Path) -> None:
    """Python with the name that scripts call it by."""
    lay(order, tree)
    [program] = (order.out / "bin").glob("python3.??")
    (order.out / "bin/python3").symlink_to(program.name)
    (order.out / "bin/python").symlink_to(program.name)


def systemd(order: Order, tree: Path) -> None:
    """nixpkgs keeps units and settings as examples that its modules choose from."""
    lay(order, tree)
    out = order.out
    example = out / "example"
    (example / "systemd").mkdir(parents=True)
    for kind in ("system", "user"):
        shutil.move(out / "lib/systemd" / kind, example / "systemd" / kind)
    for kind in ("sysctl.d", "tmpfiles.d", "sysusers.d"):
        if (out / "lib" / kind).exists():
            shutil.move(out / "lib" / kind, example / kind)
