"""A runner that answers from a table and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import SECONDS, Line, Result


@dataclass
class Recording:
    """`answers` maps words that must all be in a command line to its output, or to its failure."""

    answers: dict[tuple[str, ...], str | CommandFailed] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        *argv: str,
        stdin: str | bytes | None = None,
        ok: tuple[int, ...] = (0,),
        secret: tuple[str, ...] = (),
        timeout: float | None = SECONDS,
        on_line: Line | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        self.calls.append(argv)
        for words, answer in self.answers.items():
            if set(words) <= set(argv):
                if isinstance(answer, CommandFailed):
                    raise answer
                return Result(argv, 0, answer, 0.0)
        raise AssertionError(f"unexpected command: {argv}")
