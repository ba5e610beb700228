"""What changed between two reports."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paranoid_install.errors import SpecError
from paranoid_install.verify.report import VERSION, printable
from paranoid_install.verify.terms import Severity, Status

_ABSENT = "not there"


@dataclass(frozen=True)
class Change:
    """A check whose answer, or evidence, differs. `before` and `after` are answers in words."""

    id: str
    title: str
    severity: Severity
    before: str
    after: str
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether something fails that did not, or fails in more ways."""
        return self.after == Status.FAIL and (self.before != Status.FAIL or bool(self.new))

    def as_data(self) -> dict[str, Any]:
        return {**vars(self), "gone": list(self.gone), "new": list(self.new), "worse": self.worse}


def load(file: Path) -> dict[str, Any]:
    """A report of `verify --json`. Raises SpecError for any other file."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["version"] != VERSION:
            raise SpecError(str(file), f"a report of version {data['version']!r}, not {VERSION}")
        for item in data["checks"]:
            _examine(item)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpecError(
            str(file), f"not a report ({error})", "make one with `paranoid-install verify --json`"
        ) from error
    return dict(data)


def _examine(item: Any) -> None:
    Status(item["status"])
    Severity(item["severity"])
    texts = (item["id"], item["title"], *item["evidence"])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("id, title and evidence are text")


def compare(before: dict[str, Any], after: dict[str, Any]) -> tuple[Change, ...]:
    """The checks that differ, in the order of the second report; those that are gone come last."""
    old = {item["id"]: item for item in before["checks"]}
    new = {item["id"]: item for item in after["checks"]}
    names = [*new, *(name for name in old if name not in new)]
    changes = (_change(old.get(name), new.get(name)) for name in names)
    return tuple(change for change in changes if change is not None)


def _change(old: dict[str, Any] | None, new: dict[str, Any] | None) -> Change | None:
    either = new or old
    if either is None:
        return None
    before, after = _answer(old), _answer(new)
    was, now = _evidence(old), _evidence(new)
    # What a check says when it passes (a size, an age) may differ from run to run.
    failing = str(Status.FAIL) in (before, after)
    if before == after and not (failing and was != now):
        return None
    return Change(
        printable(either["id"]),
        printable(either["title"]),
        Severity(either["severity"]),
        before,
        after,
        tuple(line for line in was if line not in now),
        tuple(line for line in now if line not in was),
    )


def _answer(item: dict[str, Any] | None) -> str:
    if item is None:
        return _ABSENT
    return "accepted" if item.get("accepted") else str(Status(item["status"]))


def _evidence(item: dict[str, Any] | None) -> list[str]:
    return [printable(line) for line in item["evidence"]] if item else []
