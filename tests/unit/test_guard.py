"""The request as a whole is refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paranoid_install import guard
from paranoid_install.configured import Configured
from paranoid_install.errors import Refusal, RefusedError
from paranoid_install.keys import Accepts, Daemon
from paranoid_install.layout import Firmware
from paranoid_install.systems import Room, System
from paranoid_install.values import MIB, MemorySize
from tests.unit.samples import BLANK, GIB, KEY, holding, machine_found, request, rsa

_PATH = "/nix/store/0-nixos"
_DECLARED: dict[str, Any] = {
    "version": 1,
    "firmware": "bios",
    "tmpfsSize": "2G",
    "labels": {"boot": "boot", "nix": "nix"},
    "authorizedKeysDirectory": "/nix/persist/etc/ssh/authorized_keys.d",
    "bootDevice": "nodev",
}


_RSA_2048 = rsa(2048)
_OURS = "AuthorizedKeysFile /nix/persist/etc/ssh/authorized_keys.d/%u\n"


def ours(**changes: Any) -> System:
    return System(_PATH, (KEY,), {**_DECLARED, **changes})


def reading(config: str, **changes: Any) -> System:
    """A system of ours without keys of its own, and with this in its sshd_config."""
    return System(_PATH, (), {**_DECLARED, **changes}, daemon=Daemon.of(_OURS + config))


def test_a_fitting_request_passes() -> None:
    guard.check(request(), machine_found())
    guard.check(request(), machine_found(system=ours()))
    guard.check(request(), machine_found(boot_bytes=40 * MIB, clock=1893456000.0))


@pytest.mark.parametrize(
    ("wanted", "found", "code", "problem"),
    [
        ({}, {"disk": holding("gpt")}, "not-blank", "is not blank"),
        ({}, {"namesakes": (Refusal("label-taken", "p"),)}, "label-taken", "p"),
        ({}, {"root_in_use": True}, "root", "is mounted or not empty"),
        ({"tmpfs_size": MemorySize.parse("9G")}, {}, "tmpfs-too-large",
         "the tmpfs of 9G is larger than this machine's memory, 8.0 GiB"),
        ({"tmpfs_size": MemorySize.parse("1M")}, {}, "tmpfs-too-small",
         "the tmpfs of 1M (1.0 MiB) is too small for a root file system"),
        ({}, {"has_impermanence": False}, "modules", "/modules has no impermanence/"),
        ({"tmpfs_size": MemorySize.parse("1G")}, {"system": ours()}, "layout",
         "has a root of 2G, and --tmpfs-size is 1G"),
        ({}, {"system": ours(labels={"boot": "b", "nix": "nix"})}, "layout",
         "looks for the labels"),
        ({}, {"system": ours(bootDevice="/dev/vdb")}, "boot-device",
         "writes its boot loader to /dev/vdb, not to /dev/vda"),
        ({}, {"system": ours(), "room": Room(30 * GIB, 1)}, "no-room", "the system takes 30.0 GiB"),
        ({}, {"system": ours(), "room": Room(1, 10**8)}, "no-room", "has 100000000 files"),
        ({}, {"system": ours(), "boot_bytes": 600 * MIB}, "no-boot-room",
         "kernel and initrd take 600 MiB, and /boot has"),
        ({}, {"clock": 946684800.0}, "clock", "clock says 2000-01-01 00:00 UTC, which is not betw"),
        ({}, {"clock": 4102444800.0}, "clock", "between 2025-01-01 and 2100-01-01"),
        ({"ssh_keys": ()}, {}, "lock-out", "no ssh key was given, and root on this machine has"),
        ({"ssh_keys": ()}, {"system": System(_PATH, (), _DECLARED)}, "lock-out",
         "holds no ssh key"),
        ({}, {"system": System(_PATH)}, "lock-out", "reads none of the keys that were given"),
        ({"ssh_keys": (_RSA_2048,)}, {}, "lock-out", "3072 bits and more, and it has 2048"),
        ({"ssh_keys": ()}, {"live_left": ("the key x opens no shell",)}, "lock-out",
         "the key x opens no shell"),
        ({}, {"system": reading("PermitRootLogin no")}, "lock-out", "does not let root in"),
        ({}, {"system": System(_PATH, (), _DECLARED, daemon=Daemon.of(""))}, "lock-out",
         "reads no keys from /nix/persist/etc/ssh/authorized_keys.d"),
        ({"ssh_keys": ()}, {"system": System(_PATH, (), None, ("root is not let in",))},
         "lock-out", "root is not let in"),
        ({"ssh_keys": (), "generate_root_password": True}, {"system": System(_PATH)}, "lock-out",
         "holds no ssh key"),
        ({"config": "/c"}, {"configured": Configured(unchecked="no nix")}, "lock-out",
         "what /c lets in was not checked: no nix"),
        ({"config": "/c"}, {"configured": Configured(why="nobody has a key")}, "lock-out",
         "/c lets nobody in (nobody has a key); it reads none of the keys that were given"),
        ({"flake": "f", "generate_root_password": True}, {"configured": Configured(why="w")},
         "lock-out", "f lets nobody in (w)"),
        ({"flake": "f", "ssh_keys": (_RSA_2048,)},
         {"configured": Configured(reads_ours=True, accepts=Accepts(("ssh-ed25519",)))},
         "lock-out", "sshd takes no key of type ssh-rsa"),
    ],
)  # fmt: skip
def test_what_is_refused(
    wanted: dict[str, Any], found: dict[str, Any], code: str, problem: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        guard.check(request(**wanted), machine_found(**found))
    assert caught.value.exit_code == 3
    assert code in [r.code for r in caught.value.reasons]
    assert problem in " ".join(r.problem for r in caught.value.reasons)
    assert all(r.remedy or r.code == "label-taken" for r in caught.value.reasons)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"generate_root_password": True}, {}),
        ({"root_password_hash_file": "/h"}, {}),
        ({"skip_login_check": True}, {}),
        ({}, {"live_keys": (KEY,)}),
        ({}, {"system": System(_PATH, (KEY,))}),
        (
            {},
            {"system": System(_PATH, (), {**_DECLARED, "keysFrom": "an authority's certificates"})},
        ),
        ({"ssh_keys": (KEY,)}, {"system": reading("")}),
        ({"ssh_keys": (_RSA_2048,)}, {"system": reading("RequiredRSASize 2048")}),
        ({"config": "/c"}, {"configured": Configured(ways=("root",))}),
        ({"config": "/c", "ssh_keys": (KEY,)}, {"configured": Configured(reads_ours=True)}),
        (
            {"config": "/c", "generate_root_password": True},
            {"configured": Configured(passwords=True)},
        ),
        (
            {"config": "/c", "skip_login_check": True},
            {"configured": Configured(unchecked="no nix")},
        ),
    ],
)
def test_each_way_in_is_enough(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    guard.check(request(**{"ssh_keys": (), **wanted}), machine_found(**found))


def test_every_reason_is_told_at_once_the_disk_s_first() -> None:
    disk = replace(holding("gpt"), read_only=True)
    with pytest.raises(RefusedError) as caught:
        guard.check(request(), machine_found(disk))
    assert [line.split(";")[0] for line in caught.value.report()] == [
        "error: /dev/vda: is read-only",
        "  also: is not blank: a GPT partition table",
    ]


def test_an_image_is_for_another_machine_whose_memory_is_unknown() -> None:
    guard.check(request(tmpfs_size=MemorySize.parse("64G")), machine_found(BLANK, memory=None))


def test_missing_programs_are_named_before_anything_runs() -> None:
    guard.check_programs(())
    with pytest.raises(RefusedError, match=r"parted, mkfs\.ext4 cannot be found in PATH; install"):
        guard.check_programs(("parted", "mkfs.ext4"))


def test_a_plan_that_was_not_approved() -> None:
    guard.check_hash("a", "")
    guard.check_hash("a", "a")
    with pytest.raises(RefusedError, match="the plan is now a, not the one approved"):
        guard.check_hash("a", "b")


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_disk_whose_every_link_is_another_s_too_is_refused_where_grub_needs_one(
    firmware: Firmware,
) -> None:
    found = machine_found(replace(BLANK, links=()), firmware)
    if firmware == "uefi":
        guard.check(request(), found)
        return
    with pytest.raises(RefusedError, match="has no stable name of its own"):
        guard.check(request(), found)
    guard.check(request(flake="x", skip_login_check=True), found)
