"""Actions as data, for `--dry-run --json` and the journal."""

from __future__ import annotations

from collections.abc import Mapping

from paranoid_install.actions.base import Action
from paranoid_install.actions.disk import DetachLoop
from paranoid_install.actions.files import WriteFile
from paranoid_install.actions.identity import GenerateHostKey
from paranoid_install.actions.mount import Mount, Unmount
from paranoid_install.actions.programs import Leave, Run
from paranoid_install.journal import Value


def as_data(action: Action) -> Mapping[str, Value]:
    """An action for `--dry-run --json`: what it is, its line, and the file that it writes."""
    data: dict[str, Value] = {"action": type(action).__name__, "line": action.line}
    match action:
        case Run(argv, env):
            data |= {"argv": list(argv), "env": dict(env)}
        case Mount() | GenerateHostKey() | Leave():
            data["argv"] = list(action.argv)
        case WriteFile(path, text, mode):
            data |= {"path": path, "mode": f"{mode:04o}", "text": text}
        case Unmount(target, source, fs_type):
            data |= {"target": target, "source": source, "type": fs_type}
        case DetachLoop(file):
            data["file"] = file
    return data


def undo_of(data: Mapping[str, object]) -> Unmount | DetachLoop | None:
    """The undo that `as_data` described; None for one that ended with its process."""
    match data:
        case {
            "action": "Unmount",
            "target": str(target),
            "source": str(source),
            "type": str(fs_type),
        }:
            return Unmount(target, source, fs_type)
        case {"action": "DetachLoop", "file": str(file)}:
            return DetachLoop(file)
    return None
