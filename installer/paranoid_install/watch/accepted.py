"""What may run from outside the store by its nature: builds, and the wrappers of NixOS."""

from __future__ import annotations

from paranoid_install.watch.executions import Execution
from paranoid_install.watch.paths import below
from paranoid_install.watch.rules import Rules


def is_build(rules: Rules, run: Execution, paths: list[bytes]) -> bool:
    """A build user runs what lies in a build's directory: both must hold."""
    uid = run.number(b"uid")
    return (
        uid is not None
        and any(first <= uid <= last for first, last in rules.build_uids)
        and all(
            b"/../" not in path and any(below(path, d) for d in rules.build_directories)
            for path in paths
        )
    )


def is_wrapper(rules: Rules, run: Execution, paths: list[bytes]) -> bool:
    """A real file of root below the wrappers' directory, which nobody else may write to."""
    first = run.paths[0]
    return (
        all(below(path, rules.wrappers) and b"/../" not in path for path in paths)
        and first.owner == b"0"
        and first.mode is not None
        and first.mode & 0o170022 == 0o100000
    )
