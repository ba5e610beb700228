"""Programs of NixOS, and of this project, whose source lies in the tree: they are really built."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .files import link_flags
from .order import Order
from .programs import run

CRATES = Path("/usr/share/cargo/registry")


def rust(order: Order, tree: Path) -> None:
    """With Debian's crates, at the versions that Debian has."""
    work = tree / "source"
    shutil.copytree(_source(order), work)
    run("chmod", "-R", "u+w", work)
    (work / "Cargo.lock").unlink()
    for crate in order.row.get("crates", []):
        own = tree / crate / "Cargo.toml"
        own.write_text(_loosened(own.read_text(), {}))
    manifest = work / "Cargo.toml"
    manifest.write_text(
        _loosened(manifest.read_text(), {name: tree / name for name in order.row.get("crates", [])})
    )
    (work / ".cargo").mkdir()
    (work / ".cargo/config.toml").write_text(
        f'[source.crates-io]\nreplace-with = "debian"\n\n[source.debian]\ndirectory = "{CRATES}"\n'
    )
    flags = " ".join(f"-C link-arg={flag}" for flag in link_flags(order))
    run(
        "cargo", "build", "--offline", "--release", "--jobs", "2",
        cwd=work,
        environment={
            "CARGO_PROFILE_RELEASE_LTO": "false",
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1",
            "RUSTFLAGS": flags,
            "SYSTEMD_DBUS_INTERFACE_DIR": str(Path(__file__).parent / "interfaces"),
        },
    )  # fmt: skip
    bin_folder = order.out / "bin"
    bin_folder.mkdir(parents=True)
    for name in order.row["programs"]:
        shutil.copy(work / "target/release" / name, bin_folder)
    for link in order.taken.get("binaries") or []:
        (bin_folder / link).symlink_to(order.row["programs"][0])


def _loosened(manifest: str, crates: dict[str, Path]) -> str:
    """Any version of each dependency; `crates` are directories of those that Debian lacks."""
    sections = re.split(r"(?m)^(?=\[)", manifest)
    kept = [one for one in sections if not one.startswith(("[dev-dependencies]", "[lints"))]
    return "".join(
        _any_version(one, crates)
        if one.startswith(("[dependencies]", "[build-dependencies]"))
        else one
        for one in kept
    )


def _any_version(dependencies: str, crates: dict[str, Path]) -> str:
    found = re.sub(r'(?m)^([\w-]+) = "[^"]*"', r'\1 = "*"', dependencies)
    found = re.sub(r'version = "[^"]*"', 'version = "*"', found)
    # Crates of one repository name each other by place.
    found = re.sub(r'path = "[^"]*", ', "", found)
    for name, path in crates.items():
        own = f'{name} = {{ path = "{path}", default-features = false }}'
        found = re.sub(rf"(?m)^{name} = .*$", own, found)
    return found


def python_application(order: Order, tree: Path) -> None:
    """The package, its dependencies beside it, and a program that finds both."""
    site = order.out / str(order.taken["sitePackages"])
    site.mkdir(parents=True)
    for folder in sorted(tree.iterdir()):
        if folder.name.endswith(".dist-info") or folder.name not in ("usr", "etc", "bin"):
            shutil.move(folder, site / folder.name)
    package = order.row["package"]
    source = _source(order)
    shutil.copytree(source / order.row.get("folder", ".") / package, site / package)
    for extra, goal in order.row.get("with", {}).items():
        shutil.copytree(source / extra, site / goal)
    run("chmod", "-R", "u+w", order.out)
    for name, value in order.row.get("substitute", {}).items():
        file, text = name.split(":")
        path = site / file
        path.write_text(path.read_text().replace(text, value))
    _program(order, site)
    after = str(order.taken.get("postInstall") or "")
    if after and order.row.get("postInstall", False):
        run("bash", "-e", "-c", after, environment={"out": str(order.out)})


def _program(order: Order, site: Path) -> None:
    folder = order.out / "bin"
    folder.mkdir()
    python = order.interpreters["python"] / "bin/python3"
    real = folder / f".{order.row['program']}-wrapped"
    module, function = order.row["main"].split(":")
    real.write_text(
        f"#!{python} -B\nimport site, sys\nsite.addsitedir({str(site)!r})\n"
        f"from {module} import {function}\nsys.exit({function}())\n"
    )
    words = list(order.taken.get("makeWrapperArgs") or [])
    prefix = "".join(
        f'export {name}="{value}${{{name}:+:${name}}}"\n'
        for kind, name, _, value in zip(*[iter(words)] * 4, strict=False)
        if kind == "--prefix"
    )
    program = folder / order.row["program"]
    program.write_text(f'#!{order.interpreters["sh"]}/bin/bash\n{prefix}exec -a "$0" {real} "$@"\n')
    for path in (real, program):
        path.chmod(0o555)


def _source(order: Order) -> Path:
    return Path(str(order.taken["src"]))
