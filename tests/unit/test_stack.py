"""What stands on a disk, in which order it goes, and when it may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from paranoid_install import stack, sysfs
from paranoid_install.actions import CheckDisk, LetGo
from paranoid_install.errors import RefusedError
from paranoid_install.mounts import MountEntry
from paranoid_install.selection import Needs
from paranoid_install.stack import Holder
from tests.unit.samples import Recorder, acting, failed, holding

VG = "V" * 32
HYPHENED = "VVVVVV-VVVV-VVVV-VVVV-VVVV-VVVV-VVVVVV"


@dataclass(frozen=True)
class Sys:
    """A sysfs to write: devices, and what stands on what."""

    path: Path

    def add(self, name: str, *below: str, **files: str) -> None:
        node = self.path / name
        node.mkdir(parents=True, exist_ok=True)
        for file, text in {"dev": f"1:{len(name)}{hash(name) % 1000}", **files}.items():
            place = node / file.replace("__", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text + "\n", encoding="utf-8")
        for other in below:
            (self.path / other / "holders" / name).mkdir(parents=True)
            (node / "slaves" / other).mkdir(parents=True)

    def disk(self, name: str, *partitions: str) -> None:
        self.add(name)
        for partition in partitions:
            # As in sysfs: a directory of the disk's, and a link in the class.
            place = self.path.parent / "devices" / name / partition
            place.mkdir(parents=True)
            (place / "partition").write_text("1\n", encoding="ascii")
            (self.path / name / partition).symlink_to(place)
            (self.path / partition).symlink_to(place)

    def mapped(self, name: str, title: str, uuid: str, *below: str) -> None:
        self.add(name, *below, dm__name=title, dm__uuid=uuid)

    def volume(self, name: str, title: str, *below: str, group: str = VG) -> None:
        self.mapped(name, title, f"LVM-{group}{title:x<32}", *below)

    def array(self, name: str, *below: str, version: str = "1.2") -> None:
        self.add(name, *below, md__metadata_version=version)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sys:
    path = tmp_path / "class"
    path.mkdir()
    monkeypatch.setattr(sysfs, "CLASS", path)
    system = Sys(path)
    system.disk("sda", "sda1", "sda2")
    system.disk("sdb")
    return system


def read(disk: str = "sda") -> tuple[Holder, ...]:
    return stack.read(disk, (), ())


def kinds() -> list[tuple[str, str]]:
    return [(holder.kind, holder.name) for holder in read()]


def test_nothing_stands_on_a_free_disk(system: Sys) -> None:
    assert read("sdb") == ()
    assert system.path.is_dir()


def test_the_top_goes_first(system: Sys) -> None:
    system.array("md0", "sda1")
    system.mapped("dm-0", "secret", "CRYPT-LUKS2-1-secret", "md0")
    system.volume("dm-1", "v--g-root", "dm-0")
    system.volume("dm-2", "v--g-home", "dm-0")
    system.mapped("dm-3", "inner", "CRYPT-LUKS2-2-inner", "dm-2")
    assert kinds() == [
        ("encryption", "inner"), ("group", "v-g"), ("encryption", "secret"), ("array", "md0"),
    ]  # fmt: skip
    assert [holder.command for holder in read()] == [
        ("cryptsetup", "close", "inner"),
        ("vgchange", "--activate", "n", "--select", f"vg_uuid={HYPHENED}"),
        ("cryptsetup", "close", "secret"),
        ("mdadm", "--stop", "/dev/md0"),
    ]  # fmt: skip


def test_a_group_goes_once_however_its_volumes_stand_on_each_other(system: Sys) -> None:
    system.volume("dm-0", "v-pool_tmeta", "sda2")
    system.volume("dm-1", "v-pool_tdata", "sda2")
    system.volume("dm-2", "v-pool", "dm-0", "dm-1")
    system.volume("dm-3", "v-thin", "dm-2")
    (holder,) = read()
    assert (holder.name, holder.nodes) == ("v", ("dm-0", "dm-1", "dm-2", "dm-3"))


def test_two_groups_of_one_name_are_two(system: Sys) -> None:
    system.volume("dm-0", "v-a", "sda2")
    system.volume("dm-1", "v-a", "sdb", group="W" * 32)
    (holder,) = read()
    assert (holder.id, holder.nodes, holder.elsewhere) == (VG, ("dm-0",), ())


def test_a_volume_of_the_group_on_another_disk_alone_goes_with_it(system: Sys) -> None:
    system.volume("dm-0", "v-a", "sda2")
    system.volume("dm-1", "v-b", "sdb")
    system.mapped("dm-2", "above", "CRYPT-PLAIN-above", "dm-1")
    above, group = read()
    assert above.elsewhere == group.elsewhere == ("/dev/sdb",)
    assert group.obstacles == ("which also lies on /dev/sdb",)


def test_an_array_over_two_disks_names_the_other(system: Sys) -> None:
    system.array("md0", "sda1", "sdb")
    assert read()[0].words == "the RAID array md0 (md0), which also lies on /dev/sdb"


def test_the_volume_of_a_raid_container_goes_before_it(system: Sys) -> None:
    system.array("md126", "sda", version="external:/md127/0")
    system.array("md127", "sda", version="external:imsm")
    assert kinds() == [("array", "md126"), ("array", "md127")]


@pytest.mark.parametrize(
    ("uuid", "kind"), [("", "mapping"), ("part1-x", "mapping"), ("mpath-3600", "other")]
)
def test_a_path_of_a_multipath_device_is_left_to_a_person(
    system: Sys, uuid: str, kind: str
) -> None:
    system.mapped("dm-0", "name", uuid, "sda")
    (holder,) = read()
    assert (holder.kind, bool(holder.obstacles)) == (kind, kind == "other")


def test_what_is_mounted_or_swapped_to_is_said(system: Sys) -> None:
    system.mapped("dm-0", "m", "", "sda")
    number = sysfs.number("dm-0")
    mount = MountEntry(number, "/", "/data", (), "ext4", "x", ())
    (holder,) = stack.read("sda", (mount,), ("/dev/dm-0",))
    assert holder.used == ("mounted at /data", "swapped to (dm-0)")


def never(_path: str) -> bool:
    return False


def pvs(*rows: tuple[str, str]) -> str:
    return json.dumps({"report": [{"pv": [{"pv_name": n, "vg_uuid": u} for n, u in rows]}]})


@pytest.mark.parametrize(
    ("answer", "elsewhere"),
    [
        (pvs(("/dev/sda2", HYPHENED), ("/dev/sdb", "W" * 32)), ()),
        (pvs(("/dev/sda2", VG), ("/dev/sdb", VG)), ("/dev/sdb",)),
        (pvs(("/dev/sda2", VG), ("[unknown]", VG)), ("a disk that is not attached",)),
        (pvs(("/dev/sdb", "W" * 32)), ("disks that are unknown (LVM does not know it)",)),
        ("{}", None), ("", None), ('{"report": [{"pv": [1]}]}', None),
    ],
)  # fmt: skip
def test_lvm_says_where_else_a_group_lies(
    system: Sys, answer: str, elsewhere: tuple[str, ...] | None
) -> None:
    system.volume("dm-0", "v-a", "sda2")
    (holder,) = stack.look_closer(Recorder(answers={"pvs": answer}), "sda", read(), never)
    if elsewhere is None:
        (said,) = holder.elsewhere
        assert said.startswith("disks that are unknown (pvs did not answer in the expected form")
    else:
        assert holder.elsewhere == elsewhere


def test_where_lvm_cannot_be_asked_a_group_is_not_let_go_of(system: Sys) -> None:
    system.volume("dm-0", "v-a", "sda2")
    runner = Recorder(fail=lambda _n, argv: failed(*argv))
    (holder,) = stack.look_closer(runner, "sda", read(), never)
    assert holder.obstacles == ("which also lies on disks that are unknown (pvs: exit code 9)",)


def test_lvm_is_asked_only_where_a_group_stands_on_the_disk(system: Sys) -> None:
    system.array("md0", "sda")
    runner = Recorder()
    stack.look_closer(runner, "sda", read(), never)
    assert runner.calls == []


@pytest.mark.parametrize("claimed", ["dm-1", "dm-0"])
def test_only_what_is_on_top_can_be_in_use_otherwise(system: Sys, claimed: str) -> None:
    system.mapped("dm-0", "below", "", "sda")
    system.mapped("dm-1", "top", "", "dm-0")
    asked: Callable[[str], bool] = lambda path: path == f"/dev/{claimed}"  # noqa: E731
    top, below = stack.look_closer(Recorder(), "sda", read(), asked)
    assert top.used == (("used by the kernel (dm-1)",) if claimed == "dm-1" else ())
    assert below.used == ()


def let_go(holder: Holder) -> Recorder:
    recorder = Recorder()
    machine, _ = acting(recorder)
    LetGo("/dev/sda", holder).apply(machine)
    return recorder


def test_it_is_let_go_of_by_its_own_command(system: Sys) -> None:
    system.mapped("dm-0", "m", "uuid", "sda")
    assert let_go(read()[0]).calls == [("dmsetup", "remove", "m")]


def test_what_is_gone_already_is_let_go_of(system: Sys) -> None:
    system.mapped("dm-0", "m", "uuid", "sdb")
    assert let_go(Holder("mapping", "m", "uuid", ("dm-0",))).calls == []


def test_another_that_has_taken_its_name_is_left_alone(system: Sys) -> None:
    system.mapped("dm-0", "m", "another", "sda")
    assert let_go(Holder("mapping", "m", "uuid", ("dm-0",))).calls == []


def test_what_has_spread_to_another_disk_since_is_not_let_go_of(system: Sys) -> None:
    system.mapped("dm-0", "m", "uuid", "sda")
    planned = read()[0]
    (system.path / "dm-0/slaves/sdb").mkdir()
    with pytest.raises(RefusedError, match="which also lies on /dev/sdb"):
        let_go(planned)


def test_what_has_come_onto_the_disk_since_the_plan_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine, _ = acting(Recorder())
    known, new = Holder("mapping", "m", "1", ("dm-0",)), Holder("mapping", "n", "2", ("dm-1",))
    planned = replace(holding("dos"), holders=("dm-0",), stack=(known,))
    check = CheckDisk(planned, Needs(minimum=0, wipe=planned.token))
    as_it_is = "paranoid_install.actions.disk.as_it_is"
    monkeypatch.setattr(as_it_is, lambda *_, **__: planned)
    check.apply(machine)
    now = replace(planned, stack=(known, new))
    monkeypatch.setattr(as_it_is, lambda *_, **__: now)
    with pytest.raises(RefusedError, match=r"is now in use by .* the mapping n \(dm-1\)"):
        check.apply(machine)
