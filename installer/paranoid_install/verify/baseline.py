"""Findings that somebody has accepted, with a reason and an end."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from paranoid_install.errors import SpecError


@dataclass(frozen=True)
class Accepted:
    """A finding that does not count up to and including the day `until`."""

    id: str
    reason: str
    until: date


def load(file: Path, ids: Iterable[str]) -> tuple[Accepted, ...]:
    """Read a baseline, TOML or (by its name) JSON: `accept` is a list of id, reason and until.

    Raises SpecError for a file that cannot be read, an id that no check has, an empty reason, a
    date that is none, an id said twice, and a key that is not known.
    """
    known = frozenset(ids)
    try:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(str(file), f"the baseline cannot be read ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("accept"), list) or len(data) > 1:
        raise SpecError(
            str(file), "not a baseline", "write [[accept]] tables with id, reason and until"
        )
    entries = tuple(_entry(file, item, known) for item in data["accept"])
    seen = [entry.id for entry in entries]
    for name in seen:
        if seen.count(name) > 1:
            raise SpecError(str(file), f"{name} is accepted twice", "leave one of the entries")
    return entries


def _entry(file: Path, item: Any, known: frozenset[str]) -> Accepted:
    if not isinstance(item, dict) or set(item) != {"id", "reason", "until"}:
        raise SpecError(
            str(file), "an entry is not complete", "each has id, reason and until, and no more"
        )
    name, reason = item["id"], item["reason"]
    if not isinstance(name, str) or name not in known:
        near = difflib.get_close_matches(str(name), sorted(known), n=1)
        hint = f"is {near[0]} meant?" if near else "`paranoid-install verify` lists the ids"
        raise SpecError(str(file), f"no check has the id {name!r}", hint)
    if not isinstance(reason, str) or not reason.strip():
        raise SpecError(str(file), f"{name} has no reason", "say why it is accepted")
    return Accepted(name, reason, _date(file, name, item["until"]))


def _date(file: Path, name: str, value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise SpecError(
            str(file), f"{name}: until is {value!r}, no date", "write it like 2027-01-31"
        ) from error
