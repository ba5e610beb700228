"""Which mount is seen where several lie on one point: the kernel's answer, and ours."""

from __future__ import annotations

import subprocess

import pytest

from paranoid_install.mounts import parse_mountinfo, visible


def line(number: int, parent: int, point: str, source: str, options: str = "rw") -> str:
    return f"{number} {parent} 0:{number} / {point} {options} - tmpfs {source} rw\n"


def seen(*lines: str) -> dict[str, str]:
    return {p: e.source for p, e in visible(parse_mountinfo("".join(lines))).items()}


ROOT = line(20, 1, "/", "root")


def test_the_mount_on_top_need_not_be_the_last_line() -> None:
    top = line(31, 30, "/store", "read-only", "ro")
    assert seen(ROOT, top, line(30, 20, "/store", "below")) == {"/": "root", "/store": "read-only"}
    assert seen(ROOT, line(30, 20, "/store", "below"), top)["/store"] == "read-only"


def test_a_mount_below_a_covered_point_is_not_seen() -> None:
    covered = line(31, 30, "/nix/store", "old")
    found = seen(ROOT, line(30, 20, "/nix", "a"), covered, line(32, 30, "/nix", "b"))
    assert found == {"/": "root", "/nix": "b"}


def test_a_root_over_the_root_is_the_root() -> None:
    assert seen(line(1, 1, "/", "rootfs"), line(20, 1, "/", "root")) == {"/": "root"}
    assert seen(line(21, 20, "/", "over"), ROOT, line(22, 21, "/a", "x"), line(23, 20, "/a", "y"),
                ) == {"/": "over", "/a": "x"}  # fmt: skip


def test_this_kernel_agrees() -> None:
    script = (
        "set -e; d=$(mktemp -d); mount -t tmpfs base $d; mkdir $d/a; mount -t tmpfs one $d/a; "
        "mkdir $d/a/b; mount -t tmpfs hidden $d/a/b; mount -t tmpfs two $d/a; mkdir $d/a/b; "
        "mount -t tmpfs three $d/a/b; echo $d; cat /proc/self/mountinfo; echo =; "
        "for p in $d/a $d/a/b; do stat -c %d $p; done"
    )
    made = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False,
        timeout=30,
    )  # fmt: skip
    if made.returncode != 0 and "not permitted" in made.stderr + made.stdout:
        pytest.skip("unshare may not make mounts here")
    assert made.returncode == 0, made.stderr
    top, _, rest = made.stdout.partition("\n")
    table, _, numbers = rest.partition("=\n")
    found = visible(parse_mountinfo(table))
    assert (found[f"{top}/a"].source, found[f"{top}/a/b"].source) == ("two", "three")
    for point, number in zip(("a", "a/b"), numbers.split(), strict=True):
        device = found[f"{top}/{point}"].device_number
        assert device == f"{int(number) >> 8}:{int(number) & 0xFF}"
