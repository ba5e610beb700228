"""`paranoid-install patch`: the install's own patch, for a file of an installed machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from paranoid_install.errors import InstallError, SpecError
from paranoid_install.layout import layout
from paranoid_install.rewrite import patch_file, wanted
from tests.unit.samples import HARDWARE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hardware-configuration.nix"
    path.write_text(HARDWARE, encoding="utf-8")
    return path


def test_the_root_gets_its_options_once(file: Path) -> None:
    assert patch_file(file, "3G")
    text = file.read_text()
    assert '"size=3G"' in text
    assert '"mode=755"' in text
    assert not patch_file(file, "3G")
    assert file.read_text() == text


def test_another_size_takes_the_place_of_the_first(file: Path) -> None:
    patch_file(file, "3G")
    assert patch_file(file, "50%")
    assert "size=50%" in file.read_text()
    assert "3G" not in file.read_text()


def test_both_kinds_of_firmware_want_the_same() -> None:
    assert wanted(layout("bios"), "2G") == wanted(layout("uefi"), "2G")


@pytest.mark.parametrize("size", ["2Q", "0", "101%", "-1G"])
def test_what_is_no_size_leaves_the_file_alone(file: Path, size: str) -> None:
    with pytest.raises(SpecError, match=r"^--tmpfs-size: "):
        patch_file(file, size)
    assert file.read_text() == HARDWARE


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        patch_file(tmp_path / "none", "2G")


@pytest.mark.parametrize("text", ["", "{", "fileSystems", "{ fileSystems = ; }"])
def test_a_file_that_is_no_such_configuration_is_left_alone(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(InstallError):
        patch_file(file, "2G")
    assert file.read_text() == text


def test_the_old_file_is_kept_and_never_the_one_kept_before(file: Path) -> None:
    first = patch_file(file, "3G")
    assert first == file.with_name(f"{file.name}.old")
    assert first.read_text() == HARDWARE
    second = patch_file(file, "4G")
    assert second == file.with_name(f"{file.name}.old.1")
    assert "3G" in second.read_text()
    assert first.read_text() == HARDWARE
    assert patch_file(file, "4G") is None
    assert len(list(file.parent.iterdir())) == 3


def test_a_link_stays_one_and_a_mode_stays_as_it_was(file: Path) -> None:
    file.chmod(0o640)
    link = file.with_name("link.nix")
    link.symlink_to(file.name)
    assert patch_file(link, "3G")
    assert link.is_symlink()
    assert '"size=3G"' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_patched_has_no_second_name_afterwards(file: Path) -> None:
    file.write_text("{ }")
    with pytest.raises(InstallError):
        patch_file(file, "3G")
    assert list(file.parent.iterdir()) == [file]
