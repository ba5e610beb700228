"""What the VM tests share: the built lab, disks, and logs that stay after a failure."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.vmlab import cache
from tests.vm.vmlab.lab import DISK_MIB, Lab, blank_disk, open_lab
from tests.vm.vmlab.qemu import OVMF_CODE, Disk
from tests.vm.vmlab.standing import Standing, stand

LOGS = cache.REPOSITORY / "build/vm"

_PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mksquashfs", "nix-build", "depmod")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _cannot_run()
    for item in items:
        if "tests/vm/" in item.nodeid:
            item.add_marker(pytest.mark.vm)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def _cannot_run() -> str:
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not installed (see scripts/packages.txt)"
    if os.geteuid() != 0:
        return "not root: the live root and its store are built as root"
    if not OVMF_CODE.exists():
        return f"{OVMF_CODE} not there: package ovmf"
    return ""


@pytest.fixture(scope="session")
def built_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Built images; the first run on a machine takes about a minute for them."""
    return open_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    """An installed machine that Debian's systemd runs, to boot copies of."""
    lab = open_lab(tmp_path_factory.mktemp("debian-lab"), with_debian=True)
    return stand(lab, tmp_path_factory.mktemp("standing"), LOGS / "standing")


@dataclass(frozen=True)
class Bench:
    """One test's place: `logs` stay, disks go when the test is over."""

    lab: Lab
    logs: Path
    scratch: Path

    def disk(self, name: str, bus: str = "virtio", mib: int = DISK_MIB) -> Disk:
        """A new blank disk, with its name as serial number."""
        return Disk(blank_disk(self.scratch / f"{name}.raw", mib), name, bus)

    def data_disk(self, name: str, bus: str = "virtio", mib: int = 64) -> Disk:
        """A disk full of somebody's data, which no install may touch."""
        disk = self.disk(name, bus, mib)
        disk.image.write_bytes(os.urandom(mib * 1024**2))
        return disk


@pytest.fixture
def bench(request: pytest.FixtureRequest, built_lab: Lab, tmp_path: Path) -> Iterator[Bench]:
    """Logs of each machine are under build/vm/TEST; those of a test that passed are removed."""
    logs = LOGS / re.sub(r"[^A-Za-z0-9-]+", "-", request.node.name).strip("-")
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    failed_before = request.session.testsfailed
    yield Bench(built_lab, logs, tmp_path)
    for disk in tmp_path.glob("*.raw"):
        disk.unlink()
    if request.session.testsfailed == failed_before:
        shutil.rmtree(logs)
