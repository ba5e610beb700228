"""Running a program."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from paranoid_install.actions.base import Machine, Plain, lines
from paranoid_install.runner import SECONDS


@dataclass(frozen=True)
class Run(Plain):
    """Run a program. `progress` shows its output as it comes; `seconds` None: no time limit."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    seconds: float | None = SECONDS
    progress: bool = False

    @property
    def line(self) -> str:
        return shlex.join([*(f"{name}={value}" for name, value in self.env), *self.argv])

    @property
    def programs(self) -> tuple[str, ...]:
        return self.argv[:1]

    def apply(self, machine: Machine) -> None:
        machine.runner.run(
            *(machine.device(word) for word in self.argv),
            env=dict(self.env),
            timeout=self.seconds,
            on_line=lines(machine) if self.progress else None,
        )


@dataclass(frozen=True)
class Leave(Plain):
    """End the live system; `how` is systemctl(1)'s word for it: poweroff or reboot.

    systemd stops the service that the run belongs to at once. All is done by then and nothing is
    held: its signal waits, for there are things still to be said.
    """

    how: str

    @property
    def argv(self) -> tuple[str, ...]:
        return ("systemctl", "--no-block", self.how)

    @property
    def line(self) -> str:
        return shlex.join(self.argv)

    @property
    def programs(self) -> tuple[str, ...]:
        return self.argv[:1]

    def apply(self, machine: Machine) -> None:
        machine.signals.hold()
        machine.runner.run(*self.argv)


def copy_tree(source: str, target: str) -> tuple[Run, ...]:
    """Copy a directory with its modes: what impermanence runs has to stay executable.

    What comes from a store is read-only and does not stay so; what others may write, and what runs
    as its owner, is neither.
    """
    options = ("--recursive", "--preserve=mode", "--no-target-directory")
    return (
        Run(("cp", *options, f"{source}/.", target)),
        Run(("chmod", "--recursive", "u+rwX,go-w,a-st", target)),
    )
