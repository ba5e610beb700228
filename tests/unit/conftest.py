"""What all unit tests share."""

from __future__ import annotations

import pytest

from paranoid_install.store import closure


@pytest.fixture(autouse=True)
def no_closure_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests give other closures to the same paths, where a program asks for each once."""
    monkeypatch.setattr(closure, "_known", {})
