"""The builder of every package that Debian stands for: replace.nix and debian.nix run it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import order as orders
from . import source, special
from .files import lay, unpack
from .order import Order

LAYOUTS: dict[str, Callable[[Order, Path], None]] = {
    "plain": lay,
    "absent": special.absent,
    "certificates": special.certificates,
    "kernel": special.kernel,
    "libraries": special.libraries,
    "locales": special.locales,
    "file": special.one_file,
    "perl": special.perl,
    "perl-module": special.perl_module,
    "python": special.python,
    "python-application": source.python_application,
    "renamed": special.renamed,
    "rust": source.rust,
    "shell": special.shell,
    "scripts": special.scripts,
    "systemd": special.systemd,
}

_DOCUMENTATION = ("man", "doc", "info", "devdoc", "debug")


def main() -> int:
    order = orders.read(Path(os.environ["NIX_ATTRS_JSON_FILE"]))
    if order.row.get("unlisted"):
        print(
            f"{order.name}: nixpkgs would compile it, and packages.toml has no row for it",
            file=sys.stderr,
        )
        return 1
    if "empty" in order.row:
        order.out.mkdir()
    else:
        with tempfile.TemporaryDirectory() as work:
            unpack(order, Path(work))
            LAYOUTS[order.row.get("layout", "plain")](order, Path(work))
    for name, text in order.row.get("texts", {}).items():
        (order.out / name).parent.mkdir(parents=True, exist_ok=True)
        (order.out / name).write_text(text)
    for name, path in order.others.items():
        # All that is not documentation is one directory.
        if name in _DOCUMENTATION:
            path.mkdir()
        else:
            path.symlink_to(order.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
