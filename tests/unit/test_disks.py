"""Reading what the kernel, udev and wipefs say of disks; none of them is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import contents, disks, sysfs
from paranoid_install.contents import parse_wipefs
from paranoid_install.disks import Disk, Signature
from paranoid_install.errors import CommandFailed
from paranoid_install.mounts import MountEntry, parse_mountinfo, users
from tests.unit.samples import Recorder

_FOUND = '{"signatures": [{"device": "vda2", "offset": "0x438", "type": "ext4", "label": "nix"}]}'


def test_wipefs_s_list() -> None:
    assert parse_wipefs(_FOUND, "/dev/vda") == (Signature("vda2", "ext4", "nix"),)


@pytest.mark.parametrize(
    "text",
    ["garbage", "[]", "[1]", "null", "{}", '{"signatures": null}', '{"signatures": {}}',
     '{"signatures": ""}', '{"signatures": [1]}', '{"signatures": [{}]}', _FOUND[:-1], "[" * 99999],
)  # fmt: skip
def test_what_is_not_wipefs_s_list_is_never_taken_for_a_blank_disk(text: str) -> None:
    with pytest.raises(CommandFailed, match="printed what is not a list of signatures"):
        parse_wipefs(text, "/dev/vda")


@given(st.text())
def test_no_text_but_the_list_is_taken(text: str) -> None:
    with pytest.raises(CommandFailed):
        parse_wipefs(text, "/dev/vda")


@pytest.fixture
def device(tmp_path: Path) -> Disk:
    """A file that reads like a disk of 64 KiB."""
    file = tmp_path / "disk"
    file.write_bytes(bytes(65536))
    return Disk(path=str(file), size=65536)


def test_silence_of_wipefs_is_asked_again_of_blkid(device: Disk) -> None:
    recorder = Recorder()
    assert contents.probe(recorder, device).signatures == ()
    assert recorder.calls == [
        ("wipefs", "--no-act", "--json", device.path),
        ("blkid", "--probe", device.path),
    ]


def test_a_disk_that_is_shorter_than_it_says_is_unreadable_not_blank(device: Disk) -> None:
    recorder = Recorder()
    probed = contents.probe(recorder, replace(device, size=1 << 20))
    assert probed.unreadable == "only 0 bytes could be read at byte 1044480"
    assert (probed.signatures, recorder.calls) == (None, [])


def test_a_disk_that_is_gone_is_unreadable() -> None:
    probed = contents.probe(Recorder(), Disk(path="/dev/none", size=65536))
    assert probed.unreadable == "No such file or directory"


def test_what_the_kernel_holds_is_in_use_though_no_table_shows_it(
    device: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_is_claimed", lambda _path: True)
    assert contents.probe(Recorder(), device).holders == ("the kernel",)


def test_an_image_that_will_be_made_is_blank(tmp_path: Path) -> None:
    recorder = Recorder()
    image = disks.image(str(tmp_path / "none.img"), 1 << 30)
    assert contents.probe(recorder, image).signatures == ()
    assert recorder.calls == []


def test_partitions_of_a_disk_are_not_those_of_its_namesakes() -> None:
    names = ["sda", "sda1", "sda10", "sdaa1", "nvme0n1p1", "nvme0n10p1", "mmcblk1p1"]
    found = [Disk(f"/dev/{n}", 1, "partition" if n != "sda" else "disk") for n in names]

    def of(name: str) -> tuple[str, ...]:
        return disks.partitions_of(Disk(f"/dev/{name}", 1), found)

    assert of("sda") == ("/dev/sda1", "/dev/sda10")
    assert of("nvme0n1") == ("/dev/nvme0n1p1",)
    assert of("mmcblk1") == ("/dev/mmcblk1p1",)


def test_what_stands_on_a_disk_alone_is_its_own_and_what_reaches_beyond_is_not() -> None:
    sda, sdb = Disk("/dev/sda", 1), Disk("/dev/sdb", 1)
    part = Disk("/dev/sda1", 1, "partition")
    crypt = Disk("/dev/dm-0", 1, "device mapper", below=("sda1",))
    volume = Disk("/dev/dm-1", 1, "device mapper", below=("dm-0",))
    array = Disk("/dev/md0", 1, "RAID array", below=("sda", "sdb"))
    found = (sda, sdb, part, volume, crypt, array)
    assert disks.stacked_on(sda, found) == {"/dev/sda", "/dev/sda1", "/dev/dm-0", "/dev/dm-1"}
    assert disks.stacked_on(sdb, found) == {"/dev/sdb"}


def test_a_link_counts_if_it_leads_here_and_no_other_disk_claims_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leads = {"/id/shared": "/dev/sda", "/id/a": "/dev/sda", "/id/stale": "/dev/sdc"}

    def resolve(link: str) -> str:
        if link not in leads:
            raise FileNotFoundError(link)
        return leads[link]

    monkeypatch.setattr(disks, "resolve", resolve)
    one = Disk("/dev/sda", 1, links=("/id/a", "/id/gone", "/id/shared", "/id/stale"))
    twin = Disk("/dev/sdb", 1, links=("/id/shared",))
    assert disks.own_links(one, (one, twin)) == ("/id/a",)
    assert disks.own_links(twin, (one, twin)) == ()


def test_a_link_that_leads_to_no_block_device(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "file").touch()
    for name in ("circle", "file", "none"):
        with pytest.raises(OSError, match=r"circle|not a block device|No such file"):
            disks.resolve(str(tmp_path / name))


@dataclass
class Udev:
    """What pyudev gives of one device; udev's values come from the disk's own firmware."""

    sys_path: str
    properties: Mapping[str, str]
    sys_name: str = "sdz"
    device_node: str | None = "/dev/sdz"
    device_type: str = "disk"
    device_links: tuple[str, ...] = ()
    children: tuple[Udev, ...] = field(default_factory=tuple)


@given(st.text(), st.text(), st.text())
def test_hostile_names_keep_only_what_prints(serial: str, wwn: str, model: str) -> None:
    properties = {"ID_SERIAL_SHORT": serial, "ID_WWN": wwn, "ID_MODEL": model}
    disk = disks._describe(Udev("/nowhere", properties), 1, (), frozenset(), {})
    assert (disk.serial + disk.wwn + disk.model).isprintable()
    assert disk.token.strip()


_LINE = "36 35 98:0 /root {} rw,noatime shared:1 - ext4 /dev/x\\040y rw,errors=continue"


def test_a_line_of_mountinfo() -> None:
    (entry,) = parse_mountinfo(_LINE.format("/a\\040b\\134c") + "\n")
    assert (entry.mount_point, entry.source) == ("/a b\\c", "/dev/x y")
    assert (entry.device_number, entry.fs_type, entry.root) == ("98:0", "ext4", "/root")


@pytest.mark.parametrize("name", ["/a\x0bb", "/a\u2028b", "/a\x85b", "/a\rb"])
def test_a_mount_point_with_an_odd_character_is_one_line(name: str) -> None:
    (entry,) = parse_mountinfo(_LINE.format(name))
    assert entry.mount_point == name


@pytest.mark.parametrize("text", ["x", "1 2 3 4 5 6 7", "1 2 3:4 / /m rw - ext4"])
def test_what_is_no_mountinfo_is_not_passed_over(text: str) -> None:
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        parse_mountinfo(text)


def test_a_directory_that_is_no_mount_point_has_no_users(tmp_path: Path) -> None:
    assert users(str(tmp_path)) == ()


def test_the_live_medium_is_followed_through_its_loop_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def block(name: str, number: str, **files: str) -> None:
        node = tmp_path / name
        node.mkdir(parents=True)
        (node / "dev").write_text(number, encoding="ascii")
        for path, text in files.items():
            (node / path.replace("__", "/")).parent.mkdir(parents=True, exist_ok=True)
            (node / path.replace("__", "/")).write_text(text, encoding="ascii")

    block("sdb", "8:16")
    block("sdb1", "8:17")
    block("vda", "254:0")
    block("loop0", "7:0", loop__backing_file="/iso/nix-store.squashfs\n")
    monkeypatch.setattr(sysfs, "CLASS", tmp_path)

    def entry(number: str, place: str, kind: str) -> MountEntry:
        return MountEntry(number, "/", place, (), kind, "x", ())

    mounts = (entry("0:20", "/", "tmpfs"), entry("8:17", "/iso", "iso9660"),
              entry("7:0", "/nix/.ro-store", "squashfs"))  # fmt: skip
    found = disks._live_devices(mounts)
    assert set(found) == {"sdb1", "loop0"}
    assert set(disks._live_devices(mounts[:1])) == set()
    only_store = (
        mounts[2],
        entry("8:17", "/iso/", "iso9660"),
        replace(mounts[1], mount_point="/iso"),
    )
    assert "sdb1" in disks._live_devices(only_store)
