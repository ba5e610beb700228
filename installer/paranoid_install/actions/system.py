"""The system in the store and its profile."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.actions.base import Machine, Plain, lines
from paranoid_install.errors import CommandFailed, InstallError
from paranoid_install.layout import SYSTEM


@dataclass(frozen=True)
class CopyClosure(Plain):
    """Put the closure of a toplevel into the target's store, each path checked by its hash."""

    toplevel: str
    root: str
    verify: bool

    @property
    def line(self) -> str:
        how = "in parallel, each path verified" if self.verify else "in parallel, not verified"
        copy = ["nix", "copy", "--no-check-sigs", "--to", self.root, self.toplevel]
        return f"{shlex.join(copy)}  # {how}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("nix-store",)

    def apply(self, machine: Machine) -> None:
        from paranoid_install import store  # noqa: PLC0415 - the largest part of the package

        def progress(done: int, total: int, paths_done: int, paths_total: int) -> None:
            machine.journal.emit(
                "progress",
                done=done,
                total=total,
                paths_done=paths_done,
                paths_total=paths_total,
            )

        report = store.put(
            machine.runner, self.toplevel, Path(self.root), verify=self.verify, progress=progress
        )
        machine.journal.emit("store", **vars(report))
        if report.method is store.Method.LEFT:
            machine.journal.emit("warning", text=f"nixos-install copies itself: {report.reason}")


@dataclass(frozen=True)
class BuildSystem(Plain):
    """Build the target's own configuration into the target's store, as nixos-install would.

    nixos-install, without a system, looks for a system.nix or a default.nix from the caller's
    directory upward and in the live system's /etc/nixos before it takes the target's configuration
    (nixos-install.sh of NixOS 26.05). What it is given is what it installs.
    """

    root: str
    temporary: str

    @property
    def argv(self) -> tuple[str, ...]:
        return (
            *("nix-build", "--no-out-link", "--store", self.root),
            *("--extra-substituters", "auto?trusted=1", "<nixpkgs/nixos>", "--attr", "system"),
            *("-I", f"nixos-config={self._configuration}"),
        )

    @property
    def _configuration(self) -> str:
        return f"{self.root}/etc/nixos/configuration.nix"

    @property
    def line(self) -> str:
        return f"{shlex.join(self.argv)}  # {SYSTEM}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("nix-build",)

    def apply(self, machine: Machine) -> None:
        environment = {"TMPDIR": self.temporary, "NIXOS_CONFIG": self._configuration}
        result = machine.runner.run(
            *self.argv, env=environment, timeout=None, on_line=lines(machine)
        )
        path = (result.stdout.split() or [""])[-1]
        if not path.startswith("/nix/store/"):
            raise CommandFailed(self.argv, f"printed {path!r}, which is no store path", 0)
        machine.learn(SYSTEM, path)


@dataclass(frozen=True)
class CheckInstalled(Plain):
    """See that nixos-install left a system: some versions end with 0 when they have not."""

    root: str
    boot: str

    @property
    def line(self) -> str:
        profile = f"{self.root}/nix/var/nix/profiles/system"
        return f"test -e {shlex.quote(profile)} && test -e {shlex.quote(self.root)}/etc/NIXOS"

    def apply(self, machine: Machine) -> None:
        profile = Path(self.root) / "nix/var/nix/profiles/system"
        toplevel = _follow(profile, Path(self.root))
        if toplevel is None or not toplevel.is_dir():
            raise self._missing(str(profile), "leads to no system")
        if not (Path(self.root) / "etc/NIXOS").exists():
            raise self._missing(f"{self.root}/etc/NIXOS", "is missing")
        entries = ("grub/grub.cfg", "loader/entries", "EFI", "extlinux/extlinux.conf", "limine")
        if not any((Path(self.boot) / entry).exists() for entry in entries):
            raise self._missing(self.boot, "holds no boot entry")
        machine.learn("toplevel", "/" + str(toplevel.relative_to(self.root)))

    @staticmethod
    def _missing(subject: str, problem: str) -> InstallError:
        return InstallError(subject, problem, "nixos-install did not finish; see its output above")


@dataclass(frozen=True)
class MendRoots(Plain):
    """Point the target's garbage collector roots at its own paths, not at `root`'s.

    nixos-install leaves links that lead through the mount point: after the first boot they
    dangle, and the first garbage collection may delete the running system.
    """

    root: str

    @property
    def line(self) -> str:
        roots = shlex.quote(f"{self.root}/nix/var/nix/gcroots")
        return f"find {roots} -type l -lname '{self.root}/*'  # and cut {self.root} off"

    def apply(self, machine: Machine) -> None:
        for link in sorted(Path(self.root, "nix/var/nix/gcroots").rglob("*")):
            if not link.is_symlink():
                continue
            target = str(link.readlink())
            if target.startswith(self.root + "/"):
                link.unlink()
                link.symlink_to(target.removeprefix(self.root))
                machine.journal.emit("line", text=f"{link} led to {target}: mended")


def _follow(link: Path, root: Path) -> Path | None:
    """Where a link of the target leads, as the target will see it: absolute means below root."""
    for _ in range(16):
        if not link.is_symlink():
            return link if link.exists() else None
        target = link.readlink()
        link = root / target.relative_to("/") if target.is_absolute() else link.parent / target
    return None
