"""What would fail after the wipe is refused before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from paranoid_install import ahead, guard
from paranoid_install.errors import RefusedError
from paranoid_install.layout import layout
from tests.unit.samples import Recorder, failed, machine_found, request


@pytest.fixture(autouse=True)
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "filesystems"
    file.write_text("nodev\ttmpfs\n\text4\n", encoding="ascii")
    monkeypatch.setattr(ahead, "_FILE_SYSTEMS", file)
    monkeypatch.setattr(ahead, "swap_devices", frozenset)


def codes(runner: Recorder, firmware: str = "bios", *, built_here: bool = True) -> list[str]:
    plan = layout("uefi" if firmware == "uefi" else "bios")
    return [r.code for r in ahead.will_fail(runner, plan, built_here=built_here)]


def failing(program: str) -> Recorder:
    return Recorder(fail=lambda _n, argv: failed(*argv) if argv[0] == program else None)


def test_a_machine_that_has_all_is_not_refused() -> None:
    assert codes(Recorder()) == []
    assert codes(Recorder(), "uefi") == []


def test_a_kernel_without_vfat_under_uefi() -> None:
    assert codes(failing("modprobe"), "uefi") == ["file-system"]
    assert codes(failing("modprobe"), "bios") == []


def test_active_swap_where_the_configuration_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    active = frozenset({"/dev/sdb2", "/dev/zram0", "/swapfile"})
    monkeypatch.setattr(ahead, "swap_devices", lambda: active)
    assert codes(Recorder()) == ["swap-active"]
    assert codes(Recorder(), built_here=False) == []
    monkeypatch.setattr(ahead, "swap_devices", lambda: active - {"/dev/sdb2"})
    assert codes(Recorder()) == []


def test_no_nixpkgs_where_it_is_needed() -> None:
    assert codes(failing("nix-instantiate")) == ["nixpkgs"]
    assert codes(failing("nix-instantiate"), built_here=False) == []


def test_the_guard_refuses_with_it() -> None:
    reasons = ahead.will_fail(failing("nix-instantiate"), layout("bios"), built_here=True)
    with pytest.raises(RefusedError, match="no nixpkgs is known"):
        guard.check(request(), machine_found(will_fail=reasons))
