"""The units of the live system are units: systemd itself reads them, with everything filled in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ISO = Path(__file__).parents[2] / "iso"
FILLED = {
    "@autoinstall@": "/bin/true",
    "@path@": "/usr/bin:/bin",
    "@settings@": "/dev/null",
    "@shell@": "/bin/sh",
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("paranoid-install.service", "paranoid-install.service"),
        ("paranoid-shell@.service", "paranoid-shell@tty1.service"),
    ],
)
def test_systemd_reads_it_without_a_word(tmp_path: Path, file: str, unit: str) -> None:
    text = (ISO / file).read_text()
    for placeholder, value in FILLED.items():
        text = text.replace(placeholder, value)
    for name in {file, unit}:
        (tmp_path / name).write_text(text)
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    # A misspelt directive is a line on stderr, and no failure.
    assert done.stderr == ""


def test_the_unit_runs_at_boot_and_outlives_any_time_limit() -> None:
    text = (ISO / "paranoid-install.service").read_text()
    assert "WantedBy=multi-user.target" in text
    assert "TimeoutStartSec=infinity" in text
    assert "Restart=" not in text
