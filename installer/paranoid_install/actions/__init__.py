"""The closed set of things a plan can do. Each is data, prints as a line one could type, and acts.

A new need is a new action here, not a callback in a plan.
"""

from __future__ import annotations

from paranoid_install.actions.base import Action, Machine
from paranoid_install.actions.data import as_data, undo_of
from paranoid_install.actions.disk import (
    AttachLoop,
    CheckDisk,
    CheckFileSystem,
    ClaimDisk,
    CreateImage,
    DetachLoop,
    LetGo,
    NoteTable,
    SameDisk,
    ScanPartitions,
    ShareDisk,
    WaitForNodes,
)
from paranoid_install.actions.evaluation import EvaluateFlake, EvaluateSystem
from paranoid_install.actions.files import (
    CheckFiles,
    CloseJournal,
    KeepJournal,
    PatchHardware,
    WriteFile,
    WriteRecord,
    write,
)
from paranoid_install.actions.identity import (
    GenerateHostKey,
    GenerateMachineId,
    GenerateRootPassword,
)
from paranoid_install.actions.mount import MakeDirectory, Mount, Unmount
from paranoid_install.actions.programs import Leave, Run
from paranoid_install.actions.system import BuildSystem, CheckInstalled, CopyClosure, MendRoots

__all__ = [
    "Action",
    "AttachLoop",
    "BuildSystem",
    "CheckDisk",
    "CheckFileSystem",
    "CheckFiles",
    "CheckInstalled",
    "ClaimDisk",
    "CloseJournal",
    "CopyClosure",
    "CreateImage",
    "DetachLoop",
    "EvaluateFlake",
    "EvaluateSystem",
    "GenerateHostKey",
    "GenerateMachineId",
    "GenerateRootPassword",
    "KeepJournal",
    "Leave",
    "LetGo",
    "Machine",
    "MakeDirectory",
    "MendRoots",
    "Mount",
    "NoteTable",
    "PatchHardware",
    "Run",
    "SameDisk",
    "ScanPartitions",
    "ShareDisk",
    "Unmount",
    "WaitForNodes",
    "WriteFile",
    "WriteRecord",
    "as_data",
    "undo_of",
    "write",
]
