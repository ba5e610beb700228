"""Text that becomes Nix source, evaluated back by the real nix."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paranoid_install import nixlang
from paranoid_install.configuration import STATE_VERSION, Host, configuration

needs_nix = pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="needs nix")

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_NIX = st.lists(
    st.sampled_from(["$", "{", "}", "\\", '"', "''", "\n", "\r", "\t", "${", "a", "ä", "$$"])
).map("".join)


def evaluate(expression: str, directory: Path) -> object:
    """What nix makes of an expression, wholly forced. Nothing is built, no store is written."""
    file = directory / "expression.nix"
    file.write_bytes(expression.encode())
    command = ["nix-instantiate", "--eval", "--strict", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@needs_nix
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_TEXT | _NIX, min_size=50, max_size=300))
def test_every_string_evaluates_back_to_itself(tmp_path: Path, texts: list[str]) -> None:
    assert evaluate(nixlang.strings(texts), tmp_path) == texts


@needs_nix
def test_strings_that_would_be_code(tmp_path: Path) -> None:
    texts = ["${abort 1}", "$${x}", "\\${x}", "''${x}''", "a\r\nb", "\\", '"', "$", ""]
    assert evaluate(nixlang.strings(texts), tmp_path) == texts


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_nix_string_can_hold(text: str) -> None:
    with pytest.raises(ValueError, match=r"NUL byte|not valid UTF-8"):
        nixlang.string(text)


@needs_nix
@pytest.mark.parametrize("system", ["", "/nix/store/0-nixos"])
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_the_configuration_evaluates_to_its_values(
    tmp_path: Path, firmware: str, system: str
) -> None:
    host = Host("h", "50%", "bios" if firmware == "bios" else "uefi", '/dev/"${x}', "/keys", system)
    (tmp_path / "configuration.nix").write_text(configuration(host), encoding="utf-8")
    (tmp_path / "hardware-configuration.nix").write_text("{ }", encoding="utf-8")
    (tmp_path / "paranoid").mkdir()
    got = evaluate('removeAttrs (import ./configuration.nix { }) [ "imports" ]', tmp_path)
    assert isinstance(got, dict)
    assert got["networking"] == {"hostName": "h"}
    assert got["system"] == {"stateVersion": STATE_VERSION}
    assert got["paranoid"]["enable"] is True
    assert got["paranoid"]["amnesia"] == {"size": "50%"}
    boot = {"firmware": firmware} | ({"device": '/dev/"${x}'} if firmware == "bios" else {})
    assert got["paranoid"]["boot"] == boot
