"""`paranoid-install verify` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "installer"


def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paranoid_install", "verify", *arguments],
        capture_output=True, text=True, check=False, cwd=PACKAGE, timeout=120,
    )  # fmt: skip


def disk(root: Path, editor: str) -> Path:
    (root / "boot/loader").mkdir(parents=True)
    (root / "boot/loader/loader.conf").write_text(f"editor {editor}\n")
    return root


def test_findings_end_with_8_and_can_be_accepted(tmp_path: Path) -> None:
    root = disk(tmp_path / "mnt", "yes")
    baseline = tmp_path / "baseline.toml"
    baseline.write_text(
        '[[accept]]\nid = "boot.editor"\nreason = "in a locked room"\nuntil = 9999-12-31\n'
    )
    found = verify("--root", str(root), "--json")
    assert found.returncode == 8
    assert json.loads(found.stdout)["summary"]["accepted"] == 0
    accepted = verify("--root", str(root), "--json", "--baseline", str(baseline))
    assert json.loads(accepted.stdout)["summary"]["accepted"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="the disk's files must be root's")
def test_a_disk_without_findings_at_the_level_ends_with_0(tmp_path: Path) -> None:
    root = disk(tmp_path, "yes")
    keys = root / "nix/persist/etc/ssh"
    keys.mkdir(parents=True)
    for kind in ("ed25519", "rsa"):
        (keys / f"ssh_host_{kind}_key").touch(mode=0o600)
    found = verify("--root", str(root), "--fail-on", "critical")
    assert (found.returncode, found.stderr) == (0, "")
    assert "fail     high     boot.editor" in found.stdout
    assert verify("--root", str(root), "--fail-on", "high").returncode == 8


def test_a_wrong_request_ends_with_2(tmp_path: Path) -> None:
    for arguments in (("--root", str(tmp_path / "none")), ("--fail-on", "awful"),
                      ("--baseline", str(tmp_path / "none.toml")),
                      ("diff", str(tmp_path / "a"), str(tmp_path / "b"))):  # fmt: skip
        found = verify(*arguments)
        assert found.returncode == 2
        assert found.stderr
        assert "Traceback" not in found.stderr


def test_diff_takes_two_reports(tmp_path: Path) -> None:
    for name in ("a", "b"):
        root = disk(tmp_path / name, "no" if name == "a" else "yes")
        (tmp_path / f"{name}.json").write_text(verify("--root", str(root), "--json").stdout)
    found = verify("diff", str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert found.stdout.startswith("worse: boot.editor (high): pass -> fail\n")
    assert found.returncode == 8
