"""The installed machine at work: Debian's systemd, sshd, nftables and audit under the policy.

One install, then the boots of tests/vm/observations.py, and every observation there is.
tests/minios/README.md says where this machine differs from NixOS.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.vm.conftest import LOGS
from tests.vm.observations import *  # noqa: F403 # the tests
from tests.vm.observations import Scene, on_stage
from tests.vm.vmlab.install import install
from tests.vm.vmlab.lab import Lab, blank_disk, open_lab
from tests.vm.vmlab.qemu import Disk, Machine


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return open_lab(tmp_path_factory.mktemp("lab"), with_debian=True)


@pytest.fixture(scope="module", params=["bios", pytest.param("uefi", marks=pytest.mark.full)])
def scene(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    firmware: str = request.param
    logs = LOGS / f"system-{firmware}"
    shutil.rmtree(logs, ignore_errors=True)
    scratch = tmp_path_factory.mktemp(f"system-{firmware}")
    disk = Disk(blank_disk(scratch / "disk.raw"), "target")
    system = lab.store.toplevels[f"debian-{firmware}"]
    installed = install(
        lab, (disk,), logs / "install",
        f"--disk /dev/vda --tmpfs-size 2G --system {system}", firmware=firmware,
    )  # fmt: skip
    key = scratch / "operator"
    key.touch(mode=0o600)
    key.write_text(installed.text("operator"))

    machine = Machine((disk,), lab.accel, firmware, memory_mib=1024)
    failed_before = request.session.testsfailed
    boots = 2 if request.config.getoption("--full") else 1
    with on_stage(machine, logs, key, installed.text("job-output"), boots) as scene:
        yield scene
    disk.image.unlink()
    if request.session.testsfailed == failed_before:
        shutil.rmtree(logs)
