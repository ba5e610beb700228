"""Golden plans: what is run, word for word, on every kind of disk and firmware."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from paranoid_install.actions import (
    BuildSystem,
    EvaluateSystem,
    GenerateHostKey,
    Mount,
    PatchHardware,
    Run,
    SameDisk,
    WriteFile,
)
from paranoid_install.disks import Disk
from paranoid_install.layout import LOOP, Firmware
from paranoid_install.plan import Plan, Step, make
from paranoid_install.stack import Holder
from paranoid_install.systems import System
from tests.unit.samples import BLANK, KEY, holding, machine_found, request, rsa

IMAGE = Disk(path="/tmp/x.img", size=BLANK.size, kind="image", signatures=())
DISKS = {
    "vda": (BLANK, "/dev/vda", "/dev/vda"),
    "nvme0n1": (replace(BLANK, path="/dev/nvme0n1"), "/dev/nvme0n1", "/dev/nvme0n1p"),
    "mmcblk0": (replace(BLANK, path="/dev/mmcblk0"), "/dev/mmcblk0", "/dev/mmcblk0p"),
    "image": (IMAGE, LOOP, f"{LOOP}p"),
}
BIOS_TABLE = (
    "unit MiB mklabel msdos mkpart primary ext4 1MiB 512MiB mkpart primary ext4 512MiB 100% "
    "set 1 boot on"
)
UEFI_TABLE = (
    "unit MiB mklabel gpt mkpart boot fat32 1MiB 513MiB mkpart nix ext4 513MiB 100% set 1 esp on"
)


def commands(plan: Plan) -> list[tuple[str, ...]]:
    """The command lines that stand in the plan itself."""
    return [argv for step in plan.steps for argv in commands_of(step)]


def commands_of(step: Step) -> list[tuple[str, ...]]:
    """The command lines that stand in one step."""
    return [a.argv for a in step.actions if isinstance(a, (Run, Mount, GenerateHostKey))]


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
@pytest.mark.parametrize("name", DISKS)
def test_the_whole_plan_word_for_word(name: str, firmware: Firmware) -> None:
    disk, device, part = DISKS[name]
    bios = firmware == "bios"
    boot_type, vfat = ("ext4", "") if bios else ("vfat", "--options fmask=0077,dmask=0077 ")
    mkfs_boot = "mkfs.ext4 -q -F -E nodiscard -L boot" if bios else "mkfs.vfat -F 32 -n boot"
    keygen = "ssh-keygen -q -t {} -N  -C  -f /mnt/nix/persist/etc/ssh/ssh_host_{}_key"
    nixos_install = "nixos-install --root /mnt --no-root-passwd --no-channel-copy --system @SYSTEM@"
    binds = ("/etc/nixos", "/srv", "/var/lib", "/var/log")
    away = "-exec rm --recursive --force {} +"
    grub = f"grub-install --target=i386-pc --boot-directory=/mnt/boot {device}"
    expected = [
        f"parted --script --align optimal {device} {BIOS_TABLE if bios else UEFI_TABLE}",
        f"wipefs --all --force {part}1",
        f"wipefs --all --force {part}2",
        f"{mkfs_boot} {part}1",
        f"mkfs.ext4 -q -F -E nodiscard -L nix {part}2",
        "mount --types tmpfs --options size=2G,mode=755 none /mnt",
        f"mount --types {boot_type} {vfat}{part}1 /mnt/boot",
        f"mount --types ext4 {part}2 /mnt/nix",
        "find /mnt/boot -mindepth 1 -maxdepth 1 ! -name lost+found " + away,
        "find /mnt/nix -mindepth 1 -maxdepth 1 ! -name lost+found ! ( -name store -type d ) "
        + away,
        "find /mnt/nix -mindepth 2 -maxdepth 2 -path */store/* -name .* " + away,
        *(f"mount --types none --options bind /mnt/nix/persist{b} /mnt{b}" for b in binds),
        "nixos-generate-config --root /mnt",
        "PYTHON-COPIES",
        "sync --file-system /mnt/nix",
        keygen.format("ed25519", "ed25519"),
        keygen.format("rsa -b 3072", "rsa"),
        "sync --file-system /mnt/nix",
        "install --directory --mode=0700 /mnt/nix/.install-tmp",
        nixos_install,
        "rm --recursive --force /mnt/nix/.install-tmp",
        *([grub] if bios and name == "image" else []),
        "sync --file-system /mnt/nix",
        "sync --file-system /mnt/boot",
        "sync --file-system /mnt/nix",
    ]
    found = machine_found(disk, firmware, memory=None)
    done = [" ".join(argv) for argv in commands(make(request(), found))]
    copies = [line for line in done if line.startswith("cp ")]
    chmods = [line for line in done if line.startswith("chmod ")]
    assert chmods == [
        f"chmod --recursive u+rwX,go-w,a-st /mnt/etc/nixos/paranoid{place}"
        for place in ("", "/policy")
    ]
    assert [line for line in done if line not in copies + chmods] == [
        line for line in expected if line != "PYTHON-COPIES"
    ]
    assert copies[0] == (
        "cp --recursive --preserve=mode --no-target-directory /modules/. /mnt/etc/nixos/paranoid"
    )
    assert copies[1].endswith("policy/. /mnt/etc/nixos/paranoid/policy")


def test_the_steps_are_the_article_s_in_order() -> None:
    steps = make(request(), machine_found()).steps
    assert [s.id for s in steps] == [
        "select", "guard", "partition", "format", "mount", "persist", "configure", "identity",
        "store", "install", "finish",
    ]  # fmt: skip
    assert [s.id for s in steps if s.destructive] == ["partition", "format"]


def test_the_same_request_and_machine_make_the_same_plan() -> None:
    first, second = (make(request(), machine_found()) for _ in range(2))
    assert (first, first.hash) == (second, second.hash)


@pytest.mark.parametrize("change", ["serial", "wwn", "model", "path"])
def test_another_disk_makes_another_hash(change: str) -> None:
    other = Disk(**{**vars(BLANK), change: "/dev/vdz"})
    assert make(request(), machine_found()).hash != make(request(), machine_found(other)).hash


def test_another_content_of_the_disk_makes_another_hash() -> None:
    wipe = request(wipe="QM0001")
    hashes = {make(wipe, machine_found(d)).hash for d in (BLANK, holding("gpt"), holding("ext4"))}
    assert len(hashes) == 3


def test_a_disk_that_holds_something_is_wiped_partitions_first() -> None:
    found = machine_found(holding("gpt"), partitions=("/dev/vda1", "/dev/vda2"))
    first = commands(make(request(wipe="QM0001"), found))[0]
    assert first == ("wipefs", "--all", "--force", "/dev/vda1", "/dev/vda2", "/dev/vda")


def test_what_stands_on_the_disk_goes_from_the_top_and_then_the_disk_is_claimed() -> None:
    group, array = Holder("group", "v", "V" * 32), Holder("array", "md0")
    disk = replace(holding("linux_raid_member"), holders=("md0",), stack=(group, array))
    plan = make(request(wipe="QM0001"), machine_found(disk))
    guard, partition = plan.steps[1:3]
    assert [type(a).__name__ for a in guard.actions] == [
        "SameDisk", "CheckDisk", "LetGo", "LetGo", "ClaimDisk",
    ]  # fmt: skip
    assert [a.line for a in guard.actions][2:4] == [
        "vgchange --activate n --select vg_uuid=VVVVVV-VVVV-VVVV-VVVV-VVVV-VVVV-VVVVVV",
        "mdadm --stop /dev/md0",
    ]
    assert {"vgchange", "mdadm"} <= set(plan.programs)
    assert not guard.destructive
    assert isinstance(partition.actions[0], SameDisk)


def test_the_programs_that_let_go_are_asked_for_only_where_something_stands_on_the_disk() -> None:
    plan = make(request(wipe="QM0001"), machine_found(holding("LVM2_member")))
    assert not {"vgchange", "mdadm", "cryptsetup", "dmsetup", "pvs"} & set(plan.programs)


def test_no_command_before_partition_writes() -> None:
    steps = make(request(wipe="QM0001"), machine_found(holding("gpt"))).steps
    early = [a.line for a in steps[1].actions]
    assert [type(a) for a in steps[0].actions] == [EvaluateSystem]
    assert early == [
        "test /dev/vda -ef /proc/self/fd/DISK",
        "wipefs --no-act /dev/vda",
    ]


def test_the_plan_is_json_and_holds_no_hash_of_a_password() -> None:
    plan = make(request(root_password_hash_file="/run/hash"), machine_found())
    data = json.loads(json.dumps(plan.as_data()))
    assert data["hash"] == plan.hash
    assert data["disk"]["serial"] == "QM0001"
    assert "install --mode=0600 /run/hash" in json.dumps(data)


def test_the_keys_given_are_written_and_the_live_ones_only_without() -> None:
    other = KEY.replace("admin", "live")
    plan = make(request(), machine_found(live_keys=(other,)))
    text = json.dumps(plan.as_data())
    assert "admin" in text
    assert "live\\n" not in text
    assert other in json.dumps(
        make(request(ssh_keys=()), machine_found(live_keys=(other,))).as_data()
    )


def test_a_key_that_opens_nothing_is_not_written_and_the_plan_says_which_and_why() -> None:
    short = rsa(2048)
    plan = make(request(ssh_keys=(short, KEY), ssh_keys_left=("line 3 is odd",)), machine_found())
    assert short.split()[1] not in json.dumps(plan.as_data()["steps"])
    assert plan.warnings[0] == "line 3 is odd"
    assert "it has 2048" in plan.warnings[1]
    taken = make(
        request(ssh_keys=()),
        machine_found(live_keys=(KEY,), live_left=("the key x opens no shell",)),
    )
    why = "not taken over from this machine's root: the key x opens no shell"
    assert taken.warnings[0] == why


@pytest.mark.parametrize(
    ("given", "found", "lines"),
    [
        ({}, {}, ['access.keysOnDisk = [ "root" ]']),
        ({"generate_root_password": True}, {},
         ['access.keysOnDisk = [ "root" ]', "access.console = true"]),
        ({"ssh_keys": (), "root_password_hash_file": "/h"}, {}, ["access.console = true"]),
        ({"ssh_keys": (), "skip_login_check": True}, {}, ["access.enable = false"]),
        ({"ssh_keys": ()}, {"system": System("/nix/store/0-x", (KEY,))}, []),
    ],
)  # fmt: skip
def test_the_configuration_says_what_lets_root_in(
    given: dict[str, Any], found: dict[str, Any], lines: list[str]
) -> None:
    plan = make(request(**given), machine_found(**found))
    actions = [action for step in plan.steps for action in step.actions]
    written = "\n".join(a.text for a in actions if isinstance(a, WriteFile))
    tried = [a.text for a in actions if isinstance(a, EvaluateSystem)]
    assert all(text in written for text in tried)
    assert re.findall(r"paranoid\.(access\.[^;]*);", written) == lines


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_sealed_disk_gets_who_may_log_in_and_no_identity(firmware: Firmware) -> None:
    found = machine_found(firmware=firmware)
    given = {"root_password_hash_file": "/run/hash"}
    whole, sealed = (make(request(seal=seal, **given), found) for seal in (False, True))
    lines = [
        [a.line for s in plan.steps for a in s.actions if not isinstance(a, PatchHardware)]
        for plan in (whole, sealed)
    ]
    seed = " /mnt/boot/loader/random-seed" if firmware == "uefi" else ""
    assert [line for line in lines[0] if line not in lines[1]] == [
        "ssh-keygen -q -t ed25519 -N '' -C '' -f /mnt/nix/persist/etc/ssh/ssh_host_ed25519_key",
        "ssh-keygen -q -t rsa -b 3072 -N '' -C '' -f /mnt/nix/persist/etc/ssh/ssh_host_rsa_key",
        "systemd-id128 new > /mnt/nix/persist/etc/machine-id",
    ]
    assert [line for line in lines[1] if line not in lines[0]] == [
        f"rm --force /mnt/nix/persist/etc/machine-id{seed}"
    ]
    assert "install --mode=0600 /run/hash /mnt/nix/persist/etc/passwords/root" in lines[1]
    assert any("authorized_keys.d/root" in line for line in lines[1])


def test_what_the_systems_own_tools_made_is_taken_away_after_the_last_of_them() -> None:
    steps = {s.id: s for s in make(request(seal=True), machine_found(IMAGE, memory=None)).steps}
    install = [argv[0] for argv in commands_of(steps["install"])]
    assert install == ["install", "nixos-install", "rm", "rm", "grub-install"]


def test_the_finish_takes_back_every_mount_in_reverse() -> None:
    steps = {s.id: s for s in make(request(), machine_found(IMAGE, memory=None)).steps}
    taken = [a.undo for s in steps.values() for a in s.actions if a.undo is not None]
    finish = steps["finish"].actions
    assert list(finish[-len(taken):]) == taken[::-1]  # fmt: skip


@pytest.mark.parametrize(
    ("links", "named"),
    [
        (BLANK.links, "/dev/disk/by-id/virtio-QM0001"),
        (BLANK.links[1:], "/dev/disk/by-path/pci-0000:00:04.0"),
        # What the disk holds is gone by then.
        (("/dev/disk/by-id/lvm-pv-uuid-0AJe3V", *BLANK.links), "/dev/disk/by-id/virtio-QM0001"),
    ],
)
def test_grub_s_disk_has_a_name_of_its_own(links: tuple[str, ...], named: str) -> None:
    plan = make(request(), machine_found(replace(BLANK, links=links)))
    assert f'paranoid.boot.device = \\"{named}\\"' in json.dumps(plan.as_data())


@pytest.mark.parametrize("seal", [False, True])
def test_file_systems_are_found_by_uuid_and_those_that_are_copied_by_label(seal: bool) -> None:
    plan = make(request(seal=seal), machine_found())
    (patch,) = [a for s in plan.steps for a in s.actions if isinstance(a, PatchHardware)]
    by_label = (("/boot", "/dev/disk/by-label/boot"), ("/nix", "/dev/disk/by-label/nix"))
    by_uuid = (("/boot", "/dev/vda1"), ("/nix", "/dev/vda2"))
    assert patch.patch.devices == (by_label if seal else ())
    assert patch.by_uuid == (() if seal else by_uuid)


def test_no_step_that_grows_with_the_disk_has_a_limit() -> None:
    runs = [a for s in make(request(), machine_found()).steps for a in s.actions
            if isinstance(a, Run) and a.argv[0] in ("mkfs.ext4", "mkfs.vfat", "sync")]  # fmt: skip
    assert len(runs) >= 6
    assert all(run.seconds is None for run in runs)


def test_the_configuration_is_built_by_the_plan_and_nothing_is_looked_for() -> None:
    """nixos-install without a system takes a default.nix of the caller's directory first."""
    (install,) = (s for s in make(request(), machine_found()).steps if s.id == "install")
    built = next(a for a in install.actions if isinstance(a, BuildSystem))
    assert built.line.startswith("nix-build --no-out-link --store /mnt ")
    assert "nixos-config=/mnt/etc/nixos/configuration.nix" in built.line
    for chosen in ({"flake": "x#y"}, {}):
        plan = make(request(**chosen), machine_found(system=None))
        argv = next(a for a in commands(plan) if a[0] == "nixos-install")
        assert {"--system", "--flake"} & set(argv)


def test_an_image_brings_the_modules_of_any_machine_s_disk() -> None:
    def says(disk: Disk) -> bool:
        data = json.dumps(make(request(), machine_found(disk, memory=None)).as_data())
        return "hardware.enableAllHardware = true;" in data

    assert (says(IMAGE), says(BLANK)) == (True, False)
