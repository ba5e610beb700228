"""The image below a store is found in the mount table, or said not to be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from paranoid_install.mounts import parse_mountinfo
from paranoid_install.store import source

LOWER = "41 30 7:0 / {at} ro,relatime shared:1 - squashfs /dev/loop0 ro,errors=continue"
OVERLAY = "43 30 0:44 / /nix/store rw shared:2 - overlay overlay rw,{options}"


def overlay(lower: str = "/nix/.ro-store") -> str:
    return OVERLAY.format(options=f"lowerdir={lower},upperdir=/nix/.rw/store,workdir=/nix/.rw/w")


def found(*lines: str) -> tuple[str, str | None] | None:
    pair = source.image_mount(parse_mountinfo("\n".join(lines)), "/nix/store")
    if pair is None:
        return None
    squashfs, top = pair
    return squashfs.mount_point, top.mount_point if top else None


RO = LOWER.format(at="/nix/.ro-store")


@pytest.mark.parametrize(
    "store",
    [
        overlay(),
        overlay("/sysroot/nix/.ro-store"),
        overlay("/mnt-root/nix/.ro-store"),
        overlay("/somewhere:/nix/.ro-store"),
        OVERLAY.format(options="lowerdir+=/nix/.ro-store,upperdir=/nix/.rw/store"),
    ],
    ids=["live", "systemd initrd", "scripted initrd", "two layers", "new mount interface"],
)
def test_an_overlay_over_a_squashfs(store: str) -> None:
    assert found(RO, store) == ("/nix/.ro-store", "/nix/store")


def test_a_squashfs_at_the_store_itself() -> None:
    assert found(LOWER.format(at="/nix/store")) == ("/nix/store", None)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("30 1 254:0 / / rw - ext4 /dev/vda rw",),
        (RO,),
        (RO, overlay("/nix/.other")),
        (RO, overlay("/x/nix/.ro-store")),
        (RO, overlay(), "50 43 254:0 /nix/store /nix/store rw - ext4 /dev/vda rw"),
        (LOWER.format(at="/nix/store").replace(" / /nix", " /nix/store /nix"),),
        (RO.replace("squashfs", "erofs"), overlay()),
    ],
    ids=[
        "nothing",
        "a disk",
        "no overlay",
        "another lower layer",
        "a path that only ends alike",
        "hidden by a later mount",
        "a part of an image",
        "erofs",
    ],
)
def test_no_image_where_none_is_shown(lines: tuple[str, ...]) -> None:
    assert found(*lines) is None


@pytest.mark.parametrize(
    ("uri", "directory"),
    [
        ("auto", "/nix/store"),
        ("", "/nix/store"),
        ("daemon", "/nix/store"),
        ("local", "/nix/store"),
        ("local?root=/live", "/live/nix/store"),
        ("local?root=/live/", "/live/nix/store"),
        ("local?real=/live/store&state=/s", "/live/store"),
        ("/live", "/live/nix/store"),
    ],
)
def test_stores_of_this_machine(uri: str, directory: str) -> None:
    assert source.local_directory(uri) == Path(directory)


@pytest.mark.parametrize(
    "uri", ["ssh://host", "ssh-ng://host", "https://cache", "s3://b", "unix:///s", "file:///c"]
)
def test_other_stores_are_not(uri: str) -> None:
    assert source.local_directory(uri) is None
