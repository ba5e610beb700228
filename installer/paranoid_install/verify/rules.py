"""Rules that others have written, as data of the policy, and the checks that ask the same."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paranoid_install import policy

PROFILES = ("stig", "anssi", "cis")


@dataclass(frozen=True)
class Profile:
    """A set of rules. `id` and `release` are its publisher's; `version` is part of its title."""

    name: str
    id: str
    title: str
    version: str
    release: str
    rules: tuple[Mapping[str, Any], ...]

    @property
    def full(self) -> str:
        return f"{self.title} {self.version}"


@functools.cache
def profile(name: str) -> Profile:
    """The rules of one of PROFILES, in order."""
    data = policy.load(name)
    return Profile(
        name, data["id"], data["title"], data["version"], data["release"], tuple(data["rule"])
    )


@functools.cache
def mapped() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """By a check's id, and by profile, the rules that it answers or helps to answer."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in PROFILES:
        for rule in profile(name).rules:
            for check in rule.get("checks", ()):
                of = found.setdefault(check, {})
                of[name] = (*of.get(name, ()), rule["id"])
    return found


def rules_of(check: str) -> Mapping[str, tuple[str, ...]]:
    """The rules that a check answers, by profile; none for most profiles of most checks."""
    return mapped().get(check, {})


def parts() -> Iterator[Mapping[str, Any]]:
    """Each rule of each profile, and each reason to leave one out: all that names facts."""
    for name in PROFILES:
        for rule in profile(name).rules:
            yield rule
            yield from rule.get("instead", ())
