"""What the patch leaves of a hardware-configuration.nix, by the word of the real Nix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paranoid_install.hardware import patch
from tests.nix.conftest import Nix
from tests.unit.hardware_forms import FORMS
from tests.unit.test_hardware import WANTED

# A module with as much of nixpkgs' lib as the forms use, as the plain data that it declares.
_EVALUATE = """
  let
    lib = {{ mkForce = value: value; }};
    module = {text};
    body = if builtins.isFunction module then module {{ inherit lib; }} else module;
  in
  {{ swapDevices = [ ]; fileSystems = {{ }}; }} // (body.config or body)
"""


def declared(nix: Nix, text: str) -> Any:
    return nix.evaluate(_EVALUATE.format(text=text))


@pytest.mark.parametrize("form", FORMS)
def test_nothing_but_what_is_meant_has_changed(nix: Nix, form: str) -> None:
    text = FORMS[form][0]
    before, after = declared(nix, text), declared(nix, patch(text, WANTED))
    assert after["fileSystems"].pop("/") == {
        **before["fileSystems"].pop("/"),
        "options": list(WANTED.root_options),
    }
    owned = dict(WANTED.owned)
    kept = {
        path: mount
        for path, mount in before["fileSystems"].items()
        if mount.get("device") != owned.get(path) or "bind" not in mount.get("options", [])
    }
    assert json.dumps(after, sort_keys=True) == json.dumps(
        {**before, "fileSystems": kept}, sort_keys=True
    )
