"""A small Debian of the host's own release: the live root, and what minios is made of."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from tests.vm.vmlab import cache
from tests.vm.vmlab.process import LabError, run

PACKAGES = cache.REPOSITORY / "tests/vm/live/packages.txt"

# Downloaded and unpacked beside the root, not installed: its scripts would build an initrd.
KERNEL = "linux-image-cloud-amd64"

_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# Neither is read by anything in the VM, and both cost time to write.
_UNWANTED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

_FETCH_KERNEL = f"""
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
image=$(apt-cache depends {KERNEL} | sed -n 's/^ *Depends: \\(linux-image-.*\\)$/\\1/p')
cd "$1/boot" && apt-get -q download "$image"
"""


def release() -> str:
    """The host's Debian release, by its code name."""
    fields = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    if fields.get("ID") != "debian":
        raise LabError("the live root is built from the host's own release: this needs Debian")
    return fields["VERSION_CODENAME"]


def listed(file: Path) -> list[str]:
    """The names in a file that has one a line, with remarks after #."""
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def python_dependencies() -> list[str]:
    """What pyproject.toml says that the installer needs."""
    project = tomllib.loads((cache.REPOSITORY / "pyproject.toml").read_text())
    dependencies: list[str] = project["project"]["dependencies"]
    return dependencies


def build() -> Path:
    """A directory with root.squashfs (the live root) and debian/ (see minios/parts.nix)."""
    name = cache.key(
        release(),
        "\n".join(listed(PACKAGES)),
        "\n".join(python_dependencies()),
        Path(__file__).read_bytes(),
    )
    return cache.build("live", name, _make)


def _make(work: Path) -> None:
    tree = work / "tree"
    bootstrap(tree, listed(PACKAGES), f"--customize-hook={_FETCH_KERNEL}")
    _unpack_kernel(tree, work / "debian/kernel")
    _collect(tree, work / "debian")
    install_python(tree)
    _squash(tree, work / "root.squashfs")
    shutil.rmtree(tree)


def bootstrap(tree: Path, packages: list[str], *options: str, suite: str = "") -> None:
    """A root with these packages, of `suite` or of the host's release.

    `options` are mmdebstrap's.
    """
    excluded = [f"--dpkgopt=path-exclude={path}" for path in _UNWANTED]
    source = [path for path in _SOURCES if Path(path).exists()][:1]
    if suite:
        source = [f"deb [signed-by={_KEYRING}] {mirror()} {suite} main"]
    run(
        "mmdebstrap",
        "--mode=root",
        "--variant=essential",
        "--skip=cleanup/reproducible",
        f"--include={','.join(packages)}",
        '--aptopt=Acquire::Languages "none"',
        *excluded,
        *options,
        suite or release(),
        tree,
        *source,
        seconds=900,
    )


def _unpack_kernel(tree: Path, target: Path) -> None:
    """The kernel as parts.nix takes it, and its modules in the root as udev wants them."""
    [package] = (tree / "boot").glob("linux-image-*.deb")
    unpacked = target.parent / "unpacked"
    unpacked.mkdir(parents=True)
    run("dpkg-deb", "-x", package, unpacked)
    package.unlink()
    # /lib is a link to usr/lib in the root, and newer kernel packages name that.
    [modules] = [path for lib in ("lib", "usr/lib") for path in unpacked.glob(f"{lib}/modules/*")]
    version = modules.name
    shutil.copytree(modules, tree / "usr/lib/modules" / version)
    run("depmod", "-b", tree, version)
    target.mkdir(parents=True)
    shutil.copytree(tree / "usr/lib/modules" / version, target / "modules")
    shutil.copyfile(unpacked / f"boot/vmlinuz-{version}", target / "vmlinuz")
    (target / "version").write_text(version + "\n")
    shutil.rmtree(unpacked)


def _collect(tree: Path, target: Path) -> None:
    """The programs of minios out of the root, each with the libraries that it loads."""
    bootstrap = target / "bootstrap/bin"
    bootstrap.mkdir(parents=True)
    [busybox] = [p for p in (tree / "bin/busybox", tree / "usr/bin/busybox") if p.exists()][:1]
    shutil.copy(busybox, bootstrap / "busybox")

    (target / "grub/sbin").mkdir(parents=True)
    (target / "grub/lib").mkdir()
    shutil.copy(tree / "usr/sbin/grub-install", target / "grub/sbin")
    for name, library in libraries(tree, "/usr/sbin/grub-install").items():
        shutil.copy(library, target / "grub/lib" / name)
    shutil.copytree(tree / "usr/lib/grub/i386-pc", target / "grub/i386-pc")

    (target / "systemd-boot").mkdir()
    shutil.copy(tree / "usr/lib/systemd/boot/efi/systemd-bootx64.efi", target / "systemd-boot")


def libraries(tree: Path, program: str) -> dict[str, Path]:
    """The shared libraries of a program of the tree, its loader included, by name (ldd(1))."""
    found = {}
    for line in run("chroot", tree, "ldd", program).splitlines():
        words = line.split()
        paths = [word for word in words if word.startswith("/")]
        if paths:
            # Links are to be followed inside the tree; the name asked for is kept.
            real = run("chroot", tree, "realpath", paths[-1]).strip()
            found[Path(words[0]).name] = tree / real.lstrip("/")
        elif "not found" in line:
            raise LabError(f"{program}: a library is missing in the root: {line.strip()}")
    return found


def mirror() -> str:
    """The address of the Debian archive that this machine's apt uses."""
    lines = run(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(COMPONENT)",
        "Created-By: Packages",
    )  # fmt: skip
    for line in lines.splitlines():
        address, origin, component = line.split()
        if origin == "Debian" and component == "main":
            return address
    raise LabError("apt knows no archive of Debian: run apt-get update")


def install_python(tree: Path) -> None:
    """The installer's dependencies, as wheels for the root's own Python."""
    question = "import site; print(site.getsitepackages()[0])"
    site = run("chroot", tree, "python3", "-c", question).strip()
    install_wheels(tree, tree / site.lstrip("/"))
    run("chroot", tree, "python3", "-m", "compileall", "-q", site)


def install_wheels(tree: Path, target: Path) -> None:
    """The installer's dependencies for the Python of `tree`, in a directory."""
    question = "import sys; print(*sys.version_info[:2], sep='.')"
    version = run("chroot", tree, "python3", "-c", question).strip()
    requirements = [Requirement(line) for line in python_dependencies()]
    # pip itself would judge by the Python that runs it.
    needed = [
        str(requirement)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"python_version": version})
    ]
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-compile",
        "--no-warn-script-location",
        "--python-version", version, "--only-binary", ":all:",
        "--target", target, *needed,
        seconds=600,
    )  # fmt: skip


def _squash(tree: Path, image: Path) -> None:
    run(
        "mksquashfs", tree, image, "-comp", "zstd", "-Xcompression-level", "6",
        "-quiet", "-no-progress",
        seconds=600,
    )  # fmt: skip
