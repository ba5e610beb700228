"""What every action is, and what it acts through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from paranoid_install.held import Held, hold
from paranoid_install.journal import Journal, JournalFile
from paranoid_install.layout import LOOP, SYSTEM
from paranoid_install.mounts import Standing, standing
from paranoid_install.runner import Runner
from paranoid_install.signals import Signals


@dataclass
class Machine:
    """What actions act through. `facts` is what was learned on the way; never a secret.

    `show` puts a line before the person at the terminal and nowhere else. `held` are the disk, the
    image and its loop device, by the name that the plan has for each; `hold` takes one more.
    `mounted` is what the run has put at each place: that alone is its to release.
    """

    runner: Runner
    journal: Journal
    show: Callable[[str], None]
    signals: Signals = field(default_factory=Signals)
    log: JournalFile | None = None
    facts: dict[str, str] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    hold: Callable[[str], Held] = hold
    mounted: dict[str, Standing] = field(default_factory=dict)

    def learn(self, name: str, value: str) -> None:
        self.facts[name] = value
        self.journal.emit("fact", name=name, value=value)

    def note_mount(self, target: str) -> None:
        """Note what is mounted at a path now."""
        found = standing(target)
        if found is not None:
            self.mounted[target] = found
            self.journal.emit("mounted", target=target, **vars(found))

    def device(self, text: str) -> str:
        """A text with the loop device and the built system in place of their placeholders, once
        they are known."""
        for name in (LOOP, SYSTEM):
            text = text.replace(name, self.facts.get(name, name))
        return text


class Action(Protocol):
    """One thing to do. `line` is what is shown; `undo` what takes it back, None: nothing does.

    `programs` are those it runs, so that a missing one is found before anything is written.
    `lasts` says that its effect is on the disk; what does not last is done again on a resume.
    """

    @property
    def line(self) -> str: ...

    @property
    def undo(self) -> Action | None: ...

    @property
    def programs(self) -> tuple[str, ...]: ...

    @property
    def lasts(self) -> bool: ...

    def apply(self, machine: Machine) -> None: ...


class Plain:
    """What most actions are: nothing takes them back, and they run no program."""

    @property
    def undo(self) -> Action | None:
        return None

    @property
    def programs(self) -> tuple[str, ...]:
        return ()

    @property
    def lasts(self) -> bool:
        return True


class Passing(Plain):
    """What is gone when the machine or the run ends: mounts, devices, directories on a tmpfs."""

    @property
    def lasts(self) -> bool:
        return False


def lines(machine: Machine) -> Callable[[str], None]:
    return lambda line: machine.journal.emit("line", text=line)
