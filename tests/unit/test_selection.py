"""Which disk is meant, and why a disk is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install.disks import Disk, Signature
from paranoid_install.errors import RefusedError
from paranoid_install.layout import partition_path
from paranoid_install.selection import (
    DevicePath,
    ImageFile,
    Needs,
    Rule,
    namesakes,
    parse_selector,
    refusals,
    select,
)
from paranoid_install.stack import Holder
from tests.unit.samples import BLANK, GIB, holding

GROUP = Holder("group", "v", "abcdefghijklmnopqrstuvwxyz012345", ("dm-0",))


def standing(*holders: Holder, disk: Disk = BLANK) -> Disk:
    """The disk with these on it."""
    return replace(disk, holders=("dm-0",), stack=holders)


NEEDS = Needs(minimum=3 * GIB, maximum=2048 * GIB, labels=("boot", "nix"), sectors=(512,))


@pytest.mark.parametrize(
    ("disk", "code", "sentence"),
    [
        (replace(BLANK, kind="partition"), "not-a-disk",
         "is a partition, not a whole disk; name the disk as a whole"),
        (replace(BLANK, kind="RAID array"), "not-a-disk",
         "is a RAID array, not a whole disk; name the disk as a whole"),
        (replace(BLANK, kind="eMMC boot area"), "not-a-disk",
         "is an eMMC boot area, not a whole disk; name the disk as a whole"),
        (replace(BLANK, live="the running system's / is on it"), "live",
         "the running system's / is on it; name another disk"),
        (replace(BLANK, mounted=("/data", "/more")), "mounted",
         "mounted at /data, /more; unmount it or name another disk"),
        (replace(BLANK, swap=("/dev/vda2",)), "swap",
         "/dev/vda2 is used as swap; switch it off with swapoff, or name another"),
        (replace(BLANK, holders=("loop0",)), "held",
         "in use by loop0; stop what uses it, a loop device, a pool or a volume, or name another "
         "disk"),
        (standing(GROUP), "held",
         "in use by the volume group v (dm-0); let go of it (vgchange --activate n --select "
         "vg_uuid=abcdef-ghij-klmn-opqr-stuv-wxyz-012345), or name another disk, or say --wipe "
         "QM0001 to let go of it and erase all of it"),
        (standing(replace(GROUP, used=("mounted at /data",))), "held",
         "in use by the volume group v (dm-0), which is mounted at /data; see to that first, then "
         "let go of it (vgchange --activate n --select vg_uuid="
         "abcdef-ghij-klmn-opqr-stuv-wxyz-012345), or name another disk"),
        (replace(BLANK, kind="bcache device"), "not-a-disk",
         "is a bcache device, not a whole disk; name the disk as a whole"),
        (replace(BLANK, sector=4096), "sector",
         "has sectors of 4096 bytes, from which this firmware does not boot; install with UEFI "
         "firmware, or name another disk"),
        (replace(BLANK, zoned="host-managed"), "zoned",
         "is host-managed zoned storage, which ext4 cannot be written to; name another disk"),
        (replace(BLANK, read_only=True), "read-only",
         "is read-only; clear its write protection or name another disk"),
        (replace(BLANK, size=2 * GIB), "too-small",
         "has 2.0 GiB, and the layout needs 3.0 GiB; name a larger disk"),
        (replace(BLANK, size=4096 * GIB), "too-large",
         "has 4.0 TiB, and an msdos partition table covers 2.0 TiB; install with UEFI firmware, "
         "or name a smaller disk"),
        (replace(BLANK, unreadable="Input/output error", signatures=None), "unreadable",
         "cannot be read (Input/output error), so nothing is known of what it holds; "
         "replace the disk or name another"),
        (holding("gpt", "ext4"), "not-blank",
         "is not blank: a GPT partition table, ext4; to erase all of it say --wipe QM0001"),
        (holding("crypto_LUKS"), "not-blank",
         "is not blank: a LUKS volume; to erase all of it say --wipe QM0001"),
        (holding("LVM2_member"), "not-blank",
         "is not blank: an LVM physical volume; to erase all of it say --wipe QM0001"),
        (holding("linux_raid_member"), "not-blank",
         "is not blank: a RAID member; to erase all of it say --wipe QM0001"),
        (holding("zfs_member"), "not-blank",
         "is not blank: a ZFS pool member; to erase all of it say --wipe QM0001"),
        (holding("ntfs"), "not-blank",
         "is not blank: an NTFS file system (Windows); to erase all of it say --wipe QM0001"),
        (replace(BLANK, data="at byte 0"), "unknown-data",
         "holds data of no known kind (at byte 0); to erase all of it say --wipe QM0001"),
        (replace(holding("ext4"), installed="2026-01-01"), "installed",
         "holds the system that paranoid-install put there at 2026-01-01; boot it, or to erase "
         "all of it say --wipe QM0001"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)  # fmt: skip
def test_each_refusal_has_its_sentence(disk: Disk, code: str, sentence: str) -> None:
    reasons = refusals(disk, NEEDS)
    assert [(r.code, str(r)) for r in reasons] == [(code, sentence)]


def test_a_blank_disk_is_taken() -> None:
    assert refusals(BLANK, NEEDS) == ()


def test_data_of_no_known_kind_is_erased_only_when_named() -> None:
    disk = replace(BLANK, data="at byte 0")
    assert refusals(disk, replace(NEEDS, wipe="QM0001")) == ()
    with pytest.raises(RefusedError, match="no disk fits"):
        select(Rule("auto"), (disk,), NEEDS)


def test_wipe_names_one_disk_and_no_other() -> None:
    disk = holding("gpt")
    assert refusals(disk, replace(NEEDS, wipe="QM0001")) == ()
    (reason,) = refusals(disk, replace(NEEDS, wipe="QM0002"))
    assert "(--wipe QM0002 names another)" in reason.problem


@pytest.mark.parametrize("wipe", ["", "yes", "/dev/vda", "0x5000c500a1b2c3d4", "qm0001"])
def test_nothing_but_the_serial_erases_a_disk_that_has_one(wipe: str) -> None:
    assert refusals(holding("gpt"), replace(NEEDS, wipe=wipe))


def test_wipe_does_not_excuse_a_mounted_or_live_disk() -> None:
    disk = replace(holding("gpt"), mounted=("/",), live="the running system's / is on it")
    codes = [r.code for r in refusals(disk, replace(NEEDS, wipe="QM0001"))]
    assert codes == ["live", "mounted"]


def test_wipe_means_what_stands_on_the_disk_too() -> None:
    disk = standing(GROUP, disk=holding("LVM2_member"))
    assert refusals(disk, replace(NEEDS, wipe="QM0001")) == ()
    assert [r.code for r in refusals(disk, replace(NEEDS, wipe="QM0002"))] == ["held", "not-blank"]
    assert [r.code for r in refusals(disk, NEEDS)] == ["held", "not-blank"]


@pytest.mark.parametrize(
    ("holder", "says"),
    [
        (replace(GROUP, used=("mounted at /data",)), "which is mounted at /data"),
        (replace(GROUP, used=("swapped to (dm-0)",)), "which is swapped to (dm-0)"),
        (replace(GROUP, elsewhere=("/dev/vdb",)), "which also lies on /dev/vdb"),
        (Holder("other", "bcache0", "", ("bcache0",)), "which only a person can let go of"),
    ],
)
def test_wipe_does_not_excuse_what_is_in_use_or_lies_on_another_disk_too(
    holder: Holder, says: str
) -> None:
    disk = standing(GROUP, holder, disk=holding("LVM2_member"))
    (reason,) = refusals(disk, replace(NEEDS, wipe="QM0001"))
    assert says in reason.problem


def test_wipe_does_not_excuse_a_pool_that_the_kernel_alone_knows_of() -> None:
    disk = replace(holding("zfs_member"), holders=("the kernel",))
    assert [r.code for r in refusals(disk, replace(NEEDS, wipe="QM0001"))] == ["held"]


def test_auto_takes_the_only_blank_disk() -> None:
    full = replace(holding("gpt"), path="/dev/vdb", serial="B")
    assert select(Rule("auto"), (full, BLANK), NEEDS) is BLANK


@pytest.mark.parametrize("rule", [Rule("auto"), Rule("size>=", "10G")])
def test_a_rule_that_fits_two_disks_never_guesses(rule: Rule) -> None:
    other = replace(BLANK, path="/dev/vdb", serial="B")
    full = replace(holding("gpt"), path="/dev/vdc", serial="C")
    with pytest.raises(RefusedError) as caught:
        select(rule, (BLANK, other, full), NEEDS)
    error = caught.value
    assert error.exit_code == 3
    assert error.problem.startswith("2 disks fit: /dev/vda (QEMU HARDDISK, serial QM0001, 20.0 GiB")
    assert error.report()[1:] == [
        "  /dev/vda (QEMU HARDDISK, serial QM0001, 20.0 GiB): fits",
        "  /dev/vdb (QEMU HARDDISK, serial B, 20.0 GiB): fits",
        "  /dev/vdc (QEMU HARDDISK, serial C, 20.0 GiB): is not blank: a GPT partition table",
    ]


@pytest.mark.parametrize("rule", [Rule("auto"), Rule("serial=", "X"), Rule("size>=", "1T")])
def test_a_rule_that_fits_none_lists_why(rule: Rule) -> None:
    disk = replace(BLANK, mounted=("/data",))
    with pytest.raises(RefusedError, match="no disk fits; see why each was left out") as caught:
        select(rule, (disk,), NEEDS)
    ((_, reasons),) = caught.value.candidates
    assert reasons


def test_two_disks_with_one_serial_are_told_apart_by_the_operator() -> None:
    twin = replace(BLANK, path="/dev/vdb")
    with pytest.raises(RefusedError, match="/dev/vda and /dev/vdb both answer to it"):
        select(Rule("serial=", "QM0001"), (BLANK, twin), NEEDS)


def test_a_disk_named_by_serial_is_found_even_if_refused() -> None:
    disk = replace(BLANK, read_only=True)
    assert select(Rule("serial=", "QM0001"), (disk,), NEEDS) is disk


def test_a_sas_disk_is_found_and_erased_by_the_serial_on_its_label() -> None:
    disk = replace(holding("gpt"), serial="5000c500a1b2c3d4", label_serial="ZC123")
    assert select(Rule("serial=", "ZC123"), (disk,), NEEDS) is disk
    assert select(Rule("serial=", "5000c500a1b2c3d4"), (disk,), NEEDS) is disk
    assert refusals(disk, replace(NEEDS, wipe="ZC123")) == ()
    with pytest.raises(RefusedError):
        select(Rule("serial=", ""), (replace(disk, label_serial=""),), NEEDS)


@pytest.mark.parametrize("rule", [Rule("auto"), Rule("size>=", "10G")])
def test_a_removable_disk_is_taken_only_when_it_is_named(rule: Rule) -> None:
    stick = replace(BLANK, removable=True)
    with pytest.raises(RefusedError, match="no disk fits"):
        select(rule, (stick,), NEEDS)
    assert select(Rule("serial=", "QM0001"), (stick,), NEEDS) is stick
    other = replace(BLANK, path="/dev/vdb", serial="B")
    assert select(rule, (stick, other), NEEDS) is other


def test_no_serial_is_not_an_empty_serial() -> None:
    with pytest.raises(RefusedError):
        select(Rule("serial=", "X"), (replace(BLANK, serial=""),), NEEDS)


@pytest.mark.parametrize("kind", ["partition", "loop", "optical drive", "device mapper"])
def test_a_rule_means_whole_disks_only(kind: str) -> None:
    with pytest.raises(RefusedError, match="no disk fits"):
        select(Rule("auto"), (replace(BLANK, kind=kind),), NEEDS)


def test_a_label_on_another_disk_is_refused_however_alike_the_names_are() -> None:
    other = replace(BLANK, path="/dev/sdaa", signatures=(Signature("sdaa2", "ext4", "nix"),))
    (reason,) = namesakes(replace(BLANK, path="/dev/sda"), (other,), ("boot", "nix"))
    assert "/dev/sdaa already carries the label 'nix'" in reason.problem


def test_the_disk_s_own_labels_are_no_clash() -> None:
    disk = replace(BLANK, signatures=(Signature("vda2", "ext4", "nix"),))
    assert namesakes(disk, (disk,), ("nix",)) == ()


_SELECTORS = st.text() | st.lists(
    st.sampled_from(["/dev/", "auto", "serial=", "wwn=", "size>=", "2G", "/", ".img", "x", "\x00"])
).map("".join)


@given(_SELECTORS)
def test_any_text_names_a_disk_or_is_a_sentence(text: str) -> None:
    try:
        selector = parse_selector(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - both ways out are right
    else:
        assert text.isprintable()
        if not isinstance(selector, ImageFile):
            assert str(selector) == text


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1))
def test_a_device_is_what_stands_below_dev(name: str) -> None:
    assert parse_selector(f"/dev/{name}") == DevicePath(f"/dev/{name}")


@given(st.from_regex(r"/dev/[a-z]{1,8}[0-9]{0,3}", fullmatch=True), st.integers(1, 128))
def test_a_partition_s_name_can_be_read_back(device: str, number: int) -> None:
    name = partition_path(device, number)
    # The kernel puts a p between two numbers (block/partitions/core.c, add_partition).
    assert name.removeprefix(device).removeprefix("p") == str(number)
    assert ("p" in name.removeprefix(device)) == device[-1].isdigit()


@given(st.text(), st.text(), st.sampled_from(["serial=", "wwn="]))
def test_a_rule_takes_no_disk_but_the_one_it_names(serial: str, value: str, key: str) -> None:
    disk = replace(BLANK, serial=serial, wwn=serial)
    try:
        chosen = select(Rule(key, value), (disk,), NEEDS)
    except RefusedError as error:
        assert error.candidates  # noqa: PT017
    else:
        assert chosen == disk
        assert serial.lower() == value.lower()
