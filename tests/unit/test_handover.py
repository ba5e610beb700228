"""Which disk may be handed over to: the one that the refusal is about, and its record names it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from paranoid_install import contents, disks, handover, record
from paranoid_install.disks import Disk, Signature
from paranoid_install.errors import Refusal, RefusedError
from paranoid_install.layout import layout
from tests.unit.samples import BLANK, Recorder

TOPLEVEL = "/nix/store/00000000000000000000000000000000-nixos-system-x"
INSTALLED = Refusal("installed", "holds the system")
TAKEN = Refusal("label-taken", "/dev/vdb already carries the label")
BTRFS = Disk("/dev/vdb", BLANK.size, signatures=(Signature("vdb", "btrfs", "nix"),))


class Machine:
    """Disks with the tables and the records that they carry."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.disks: list[Disk] = []
        self.records: dict[str, Any] = {}
        self.tables: dict[str, str] = {}
        monkeypatch.setattr(disks, "scan", lambda: tuple(self.disks))
        monkeypatch.setattr(contents, "probe", lambda _runner, disk, _parts: disk)
        monkeypatch.setattr(contents, "table_id", lambda _runner, path: self.tables.get(path, ""))
        monkeypatch.setattr(
            record, "text_on", lambda _runner, device, *_: self.records.get(device, "")
        )

    def add(self, path: str = "/dev/vda", table: str = "aba661da", **named: Any) -> None:
        disk = replace(BLANK, path=path, signatures=(Signature(f"{path[5:]}2", "ext4", "nix"),))
        self.disks.append(disk)
        self.tables[path] = table
        told = {"serial": disk.serial, "size": disk.size}
        data = {"disk": told, "table_id": table, "toplevel": TOPLEVEL, "finished": "2026"}
        self.records[f"{path}2"] = json.dumps(data | named)

    def find(self, refusal: RefusedError) -> handover.Installed:
        return handover.find(Recorder(), refusal, layout("uefi"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def named(*reasons: Refusal, path: str = "/dev/vda") -> RefusedError:
    return RefusedError(path, reasons)


def no_disk_fits(**reasons: tuple[Refusal, ...]) -> RefusedError:
    candidates = tuple((f"/dev/{name} (QEMU, 20.0 GiB)", each) for name, each in reasons.items())
    return RefusedError("--disk auto", (Refusal("no-disk", "no disk fits"),), candidates)


def test_the_disk_that_was_chosen_is_handed_over_to(machine: Machine) -> None:
    machine.add()
    assert machine.find(named(INSTALLED)) == handover.Installed("/dev/vda2", TOPLEVEL)


def test_another_disk_with_the_label_does_not_stop_it(machine: Machine) -> None:
    machine.add()
    machine.disks.append(BTRFS)
    assert machine.find(named(INSTALLED, TAKEN)).device == "/dev/vda2"


def test_of_all_disks_the_only_one_that_is_installed(machine: Machine) -> None:
    machine.add()
    machine.disks.append(BTRFS)
    refusal = no_disk_fits(vda=(INSTALLED,), vdb=(Refusal("not-blank", "is not blank"),))
    assert machine.find(refusal).device == "/dev/vda2"


@pytest.mark.parametrize(
    "refusal",
    [
        named(Refusal("mounted", "mounted at /data")),
        named(Refusal("lock-out", "nobody"), path="nobody could log in"),
        named(Refusal("probe", "wipefs failed"), path="looking at the disks"),
        no_disk_fits(vda=(Refusal("too-small", "has 1 GiB"),)),
    ],
)
def test_a_refusal_for_another_reason_boots_nothing(
    machine: Machine, refusal: RefusedError
) -> None:
    machine.add()
    with pytest.raises(RefusedError):
        machine.find(refusal)


def test_where_blank_disks_fit_the_installed_one_is_not_meant(machine: Machine) -> None:
    machine.add()
    machine.disks += [replace(BLANK, path=path) for path in ("/dev/vdb", "/dev/vdc")]
    refusal = no_disk_fits(vda=(INSTALLED,), vdb=(), vdc=())
    with pytest.raises(RefusedError, match="no file system of an install"):
        machine.find(refusal)


def test_two_installed_disks_are_not_chosen_between(machine: Machine) -> None:
    machine.add("/dev/vda", "aba661da")
    machine.add("/dev/vdb", "0badcafe")
    with pytest.raises(RefusedError, match="2 disks are meant"):
        machine.find(no_disk_fits(vda=(INSTALLED,), vdb=(INSTALLED,)))


def test_one_disk_by_two_paths_is_one_disk(machine: Machine) -> None:
    machine.add("/dev/vda")
    machine.add("/dev/vdb")
    assert machine.find(no_disk_fits(vda=(INSTALLED,), vdb=(INSTALLED,))).toplevel == TOPLEVEL


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"disk": {"serial": "OTHER", "size": BLANK.size}}, "with the serial 'OTHER'"),
        ({"disk": {"serial": "QM0001", "size": 1}}, "with the size 1"),
        ({"disk": []}, "cannot be read"),
        ({"table_id": "0badcafe"}, "another partition table"),
        ({"table_id": ""}, "another partition table"),
        ({"toplevel": ""}, "names no system"),
        ({"toplevel": "/nix/store/../../tmp/evil"}, "names no system"),
        ({"toplevel": f"{TOPLEVEL}\nx"}, "names no system"),
        ({"toplevel": 1}, "names no system"),
    ],
)
def test_a_record_that_does_not_name_the_disk_boots_nothing(
    machine: Machine, changes: dict[str, Any], problem: str
) -> None:
    machine.add(**changes)
    with pytest.raises(RefusedError, match=problem):
        machine.find(named(INSTALLED))


@pytest.mark.parametrize("text", ["", "{}", "{", "[" * 100_000, "null"])
def test_a_record_that_is_none_boots_nothing(machine: Machine, text: str) -> None:
    machine.add()
    machine.records["/dev/vda2"] = text
    with pytest.raises(RefusedError, match="cannot be read"):
        machine.find(named(INSTALLED))


def test_a_table_without_an_id_names_no_disk(machine: Machine) -> None:
    machine.add(table="")
    with pytest.raises(RefusedError, match="another partition table"):
        machine.find(named(INSTALLED))
