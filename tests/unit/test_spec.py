"""The request as a whole: each bad value has its sentence, which names the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from paranoid_install.errors import SpecError
from paranoid_install.selection import DevicePath, ImageFile, Rule, parse_selector
from paranoid_install.settings import Given
from paranoid_install.spec import InstallSpec, build
from tests.unit.samples import KEY


def build_from(**words: str) -> InstallSpec:
    named = {name.replace("_", "-"): value for name, value in words.items()}
    return build({n: Given((v,), f"--{n}") for n, v in {"disk": "/dev/vda", **named}.items()})


def test_a_request_without_a_disk() -> None:
    with pytest.raises(SpecError) as caught:
        build({})
    assert str(caught.value) == (
        "--disk: is missing; name the disk to install to, or say --disk auto"
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("tmpfs_size", "2Q", "--tmpfs-size: '2Q' is not a size; write a whole number with K, M, G "
         "or T (powers of 1024), like 512M or 2G, or a share of memory like 50%"),
        ("image_size", "50%", "--image-size: '50%' is not a size; write a whole number with K, M, "
         "G or T (powers of 1024), like 512M or 2G"),
        ("firmware", "BIOS", "--firmware: 'BIOS' is no kind of firmware; write auto, bios or uefi"),
        ("then", "halt", "--then: 'halt' is not an ending; write poweroff, reboot or nothing"),
        ("root", "mnt", "--root: 'mnt' is not an absolute path below /; write for example /mnt"),
        ("root", "/", "--root: '/' is not an absolute path below /; write for example /mnt"),
        ("root", "/tmp/..", "--root: '/tmp/..' is not an absolute path below /; "
         "write for example /mnt"),
        ("root", "/m:nt", "--root: '/m:nt' holds '..' or a character that mount options part with"),
        ("countdown", "-1", "--countdown: '-1' is not a number of seconds from 0 to 3600"),
        ("countdown", "3601", "--countdown: '3601' is not a number of seconds from 0 to 3600"),
        ("countdown", "٣", "--countdown: '٣' is not a number of seconds from 0 to 3600"),
        ("hostname", "-x", "--hostname: '-x' is not a host name; write lower-case letters, digits "
         "and inner hyphens, at most 63"),
        ("hostname", "a${b}", "--hostname: 'a${b}' is not a host name; write lower-case letters, "
         "digits and inner hyphens, at most 63"),
        ("plan_hash", "abc", "--plan-hash: 'abc' is not a plan's hash; --dry-run prints it, "
         "64 digits"),
        ("resume", "perhaps", "--resume: 'perhaps' is neither true nor false"),
        ("system", "/none", "--system: /none cannot be found (No such file or directory); "
         "build the system first"),
        ("system", "/tmp", "--system: /tmp is not a path of /nix/store; give a system's toplevel"),
        ("config", "/none", "--config: /none holds no configuration.nix"),
        ("wipe", "\x1b[2J", "--wipe: '\\x1b[2J' is empty or holds control characters"),
        ("disk", "vda", "--disk: 'vda' is neither a device, a file nor a rule; did you mean "
         "/dev/vda, or auto, serial=…, wwn=…, size>=20G?"),
        ("disk", "serial=", "--disk: 'serial=' has no value after the equals sign"),
        ("disk", "size>=2Q", "--disk: '2Q' is not a size; write a whole number with K, M, G or T "
         "(powers of 1024), like 512M or 2G"),
        ("disk", "/dev/\x1b[2J", "--disk: '/dev/\\x1b[2J' names no disk; give a device, an image "
         "file, or a rule like auto"),
        ("image_size", "4G", "--image-size: is for image files; leave it out for /dev/vda"),
    ],
)  # fmt: skip
def test_a_bad_value_is_said_word_for_word(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        build_from(**{name: value})
    assert (str(caught.value), caught.value.exit_code) == (sentence, 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"flake": "f", "config": "DIR"}, "--config: cannot be given together with --flake; "
         "give one of them"),
        ({"flake": "f", "hostname": "h"}, "--hostname: has no effect; the configuration or system "
         "given brings its own host name"),
        ({"generate_root_password": "true", "root_password_hash_file": "HASH"},
         "--generate-root-password: cannot be given together with --root-password-hash-file; "
         "give one of them"),
    ],
)  # fmt: skip
def test_what_contradicts_itself(tmp_path: Path, words: dict[str, str], sentence: str) -> None:
    (tmp_path / "configuration.nix").touch()
    (tmp_path / "hash").write_text("$6$saltsalt$" + "a" * 86, encoding="ascii")
    places = {"DIR": str(tmp_path), "HASH": str(tmp_path / "hash")}
    with pytest.raises(SpecError) as caught:
        build_from(**{name: places.get(value, value) for name, value in words.items()})
    assert str(caught.value) == sentence


def test_an_image_that_is_not_there_needs_a_size(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="does not exist; give --image-size to create it"):
        build_from(disk=str(tmp_path / "x.img"))
    assert build_from(disk=str(tmp_path / "x.img"), image_size="4G").image_size is not None


def test_an_image_of_another_size_is_not_resized(tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(b"data")
    with pytest.raises(SpecError, match="exists already and has 4 bytes; delete it, or leave"):
        build_from(disk=str(tmp_path / "x.img"), image_size="4G")


def test_an_image_in_no_directory(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is in a directory that does not exist; make it first"):
        build_from(disk=str(tmp_path / "none/x.img"), image_size="4G")


@pytest.mark.parametrize("target", ["/dev/null", "/tmp"])
def test_a_link_to_a_device_is_not_taken_for_an_image(tmp_path: Path, target: str) -> None:
    link = tmp_path / "x.img"
    link.symlink_to(target)
    with pytest.raises(SpecError, match="is no regular file; name a device by its path in /dev"):
        build_from(disk=str(link), image_size="4G")


def test_a_circle_of_links_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    for name in ("root", "system", "disk"):
        with pytest.raises(SpecError):
            build_from(**{name: str(tmp_path / "a")})


def test_a_password_in_place_of_its_hash_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "hash").write_text("hunter2", encoding="ascii")
    with pytest.raises(SpecError) as caught:
        build_from(root_password_hash_file=str(tmp_path / "hash"))
    assert "does not hold a crypt(5) hash; make one with mkpasswd" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_source_of_a_bad_value_is_named() -> None:
    with pytest.raises(SpecError, match=r"^PARANOID_THEN: "):
        build({"disk": Given(("auto",), "x"), "then": Given(("halt",), "PARANOID_THEN")})


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("auto", Rule("auto")),
        ("serial=a b", Rule("serial=", "a b")),
        ("wwn=0x5", Rule("wwn=", "0x5")),
        ("size>=20G", Rule("size>=", "20G")),
        ("/dev/disk/by-id/x", DevicePath("/dev/disk/by-id/x")),
        ("/tmp/x.img", ImageFile("/tmp/x.img")),
    ],
)
def test_what_disk_may_name(text: str, selector: object) -> None:
    assert parse_selector(text) == selector


def test_a_key_is_kept_as_it_is() -> None:
    assert build_from(ssh_key=KEY).ssh_keys == (KEY,)
