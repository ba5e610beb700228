"""An installed machine that Debian's systemd runs, with the installer's package on it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tests.vm.vmlab import cache
from tests.vm.vmlab.install import install
from tests.vm.vmlab.lab import Lab, blank_disk
from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qemu import Disk, Machine
from tests.vm.vmlab.running import Running, running

PACKAGE = "/run/package"
"""Where the package is on the machine. Python reads it; all that executes is in the store."""

COMMAND = f"PYTHONPATH={PACKAGE} python3 -m paranoid_install"

_SECONDS = 60


@dataclass(frozen=True)
class Standing:
    """A disk as the install left it, which is never booted itself, and the operator's key."""

    lab: Lab
    image: Path
    key: Path
    logs: Path

    @contextmanager
    def up(self, name: str) -> Iterator[Running]:
        """A copy of it, running. The logs are below the name, the copy goes in the end."""
        with self.copied(name) as boot, boot(name) as up:
            yield up

    @contextmanager
    def copied(self, name: str) -> Iterator[Callable[[str], AbstractContextManager[Running]]]:
        """A copy of it, which each call boots, with logs below the call's name."""
        image = self.image.with_name(f"{name}.raw")
        # It is mostly holes.
        subprocess.run(["cp", "--sparse=always", self.image, image], check=True)
        machine = Machine((Disk(image, "target"),), self.lab.accel, "bios", memory_mib=1024)
        known_hosts = image.with_suffix(".known_hosts")

        @contextmanager
        def boot(logs: str) -> Iterator[Running]:
            with running(machine, self.logs / logs, self.key, known_hosts) as up:
                _carry(up)
                yield up

        try:
            yield boot
        finally:
            image.unlink()


def stand(lab: Lab, scratch: Path, logs: Path) -> Standing:
    """Install it. LabError when that fails."""
    shutil.rmtree(logs, ignore_errors=True)
    disk = Disk(blank_disk(scratch / "installed.raw"), "target")
    system = lab.store.toplevels["debian-bios"]
    installed = install(
        lab, (disk,), logs / "install", f"--disk /dev/vda --tmpfs-size 2G --system {system}"
    )
    key = scratch / "operator"
    key.touch(mode=0o600)
    key.write_text(installed.text("operator"))
    return Standing(lab, disk.image, key, logs)


def _carry(machine: Running) -> None:
    """Put the checkout's package on the machine, so that a change of it rebuilds no store."""
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(
            cache.REPOSITORY / "installer/paranoid_install",
            "paranoid_install",
            filter=lambda info: None if info.name.endswith("__pycache__") else info,
        )
    unpack = f"mkdir -p {PACKAGE} && tar -x --no-same-owner -C {PACKAGE}"
    done = subprocess.run(
        machine.argv("ssh", destination=("root@127.0.0.1", unpack)),
        input=archive.getvalue(),
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"the package cannot be put on the machine: {done.stderr.decode()}")
