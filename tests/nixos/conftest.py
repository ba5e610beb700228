"""The lab of the real NixOS: where it can be built, and what tests take from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from tests.nixos.lab.build import Built, Place, build, open_place
from tests.vm.conftest import LOGS
from tests.vm.vmlab import accel
from tests.vm.vmlab.qemu import OVMF_CODE

PROGRAMS = ("apt-get", "bwrap", "mmdebstrap", "qemu-system-x86_64", "ssh-keygen")

SOURCES = ("PARANOID_NIXPKGS", "PARANOID_IMPERMANENCE", "PARANOID_CRATES")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _cannot_run()
    for item in items:
        if "tests/nixos/" in item.nodeid:
            item.add_marker(pytest.mark.vm)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def _cannot_run() -> str:
    unset = [name for name in SOURCES if not os.environ.get(name)]
    if unset:
        return f"the real NixOS needs {', '.join(unset)} (tests/nixos/README.md)"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (see scripts/packages.txt)"
    if os.geteuid() != 0:
        return "not root: Debian's root and its store are built as root"
    if not OVMF_CODE.exists():
        return f"{OVMF_CODE} not there: package ovmf"
    return ""


@pytest.fixture(scope="session")
def place() -> Place:
    """The builder's root and the package set; about three minutes where nothing is cached."""
    return open_place()


@pytest.fixture(scope="session")
def built(place: Place) -> Callable[[str], Built]:
    """An attribute of systems.nix, built once a session."""
    known: dict[str, Built] = {}

    def one(attribute: str) -> Built:
        if attribute not in known:
            known[attribute] = build(place, attribute, LOGS / "nixos")
        return known[attribute]

    return one


@pytest.fixture(scope="session")
def accelerator(place: Place, built: Callable[[str], Built]) -> str:
    """What QEMU runs the machines with."""
    kernel = (built("bios").outside / "kernel").readlink()
    return accel.choose(place.root.store(str(kernel)))
