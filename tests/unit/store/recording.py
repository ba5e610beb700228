"""A runner that answers from a table; only the installer's own programs run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import SECONDS, Line, Result, ShRunner, Stdin


@dataclass
class Recording:
    """`answers` maps words that must all be in a command line to its output, or to its failure."""

    answers: dict[tuple[str, ...], str | CommandFailed] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        *argv: str,
        stdin: Stdin = None,
        ok: tuple[int, ...] = (0,),
        secret: tuple[str, ...] = (),
        timeout: float | None = SECONDS,
        on_line: Line | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        if argv[0] == sys.executable:
            return ShRunner().run(
                *argv, stdin=stdin, ok=ok, secret=secret, timeout=timeout, on_line=on_line, env=env
            )
        self.calls.append(argv)
        for words, answer in self.answers.items():
            if set(words) <= set(argv):
                if isinstance(answer, CommandFailed):
                    raise answer
                return Result(argv, 0, answer, 0.0)
        raise AssertionError(f"unexpected command: {argv}")
