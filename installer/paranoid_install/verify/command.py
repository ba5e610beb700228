"""`paranoid-install verify`, without its command line: cli_verify.py mounts `run` and `diff`."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from paranoid_install import __version__
from paranoid_install.errors import FindingsError, SpecError
from paranoid_install.runner import Runner
from paranoid_install.verify import baseline, compare
from paranoid_install.verify.checklist import as_ckl, as_oscal
from paranoid_install.verify.ephemeral import Mortals, mortals
from paranoid_install.verify.facts import Machine
from paranoid_install.verify.gather import gather
from paranoid_install.verify.html import as_html
from paranoid_install.verify.junit import as_junit
from paranoid_install.verify.profile import SEVERITIES, Answer, Standing, answers
from paranoid_install.verify.registry import BY_ID, CHECKS
from paranoid_install.verify.report import Report, judge, now, printable
from paranoid_install.verify.rules import PROFILES, profile
from paranoid_install.verify.sarif import as_sarif
from paranoid_install.verify.terms import Severity


class Screen(Protocol):
    """What of ui.findings is needed here."""

    def show(self, report: Report, stream: TextIO) -> None: ...
    def show_changes(self, changes: tuple[compare.Change, ...], stream: TextIO) -> None: ...
    def show_profile(self, report: Report, answers: tuple[Answer, ...], stream: TextIO) -> None: ...
    def show_mortals(self, mortals: Mortals, stream: TextIO) -> None: ...


@dataclass(frozen=True)
class VerifyOptions:
    """What the operator asked of `verify`. A path that is None: that output is not wanted."""

    root: Path = Path("/")
    fail_on: Severity = Severity.HIGH
    baseline: Path | None = None
    as_json: bool = False
    sarif: Path | None = None
    junit: Path | None = None
    html: Path | None = None
    ephemeral: bool = False
    profile: str = ""
    ckl: Path | None = None
    oscal: Path | None = None
    seed: int | None = None


def run(options: VerifyOptions, runner: Runner, screen: Screen, out: TextIO | None = None) -> int:
    """Check, show, and return the exit code: 0, or 8 with findings of `fail_on` and above.

    Raises SpecError for a request that cannot be met.
    """
    out = out or sys.stdout
    if not options.root.is_dir():
        raise SpecError(f"--root {options.root}", "not a directory", "name where the disk is")
    if options.profile not in ("", *PROFILES):
        raise SpecError(
            f"--profile {options.profile}", "no such profile", f"there are {', '.join(PROFILES)}"
        )
    if not options.profile and options.oscal:
        raise SpecError("--oscal", "is of a profile", "name it: --profile stig")
    if options.profile != "stig" and options.ckl:
        raise SpecError("--ckl", "is the checklist of the STIG", "say --profile stig")
    if options.ephemeral:
        _ephemeral(options, screen, out)
        return 0
    accepted = baseline.load(options.baseline, BY_ID) if options.baseline else ()
    machine = gather(options.root, runner, options.seed)
    time = now()
    report = Report(
        socket.gethostname() if machine.live else machine.root,
        machine.root,
        machine.live,
        time,
        options.fail_on,
        judge(machine, CHECKS, accepted, time.date()),
        _about(machine),
    )
    if options.sarif is not None:
        _write(options.sarif, _json(as_sarif(report)))
    if options.junit is not None:
        _write(options.junit, as_junit(report))
    if options.html is not None:
        _write(options.html, as_html(report))
    if options.profile:
        return _profile(options, machine, report, screen, out)
    if options.as_json:
        out.write(_json(report.as_data()))
    else:
        screen.show(report, out)
    return FindingsError.exit_code if report.failed else 0


def _about(machine: Machine) -> tuple[tuple[str, str], ...]:
    """Who looks, with what, and at which system."""
    by = os.environ.get("SUDO_USER") or f"user {os.getuid()}"
    who = (("tool", f"paranoid-install {__version__}"), ("run by", by))
    if not machine.live:
        return who
    system = Path("/nix/var/nix/profiles/system")
    generation = (("generation", system.readlink().name),) if system.is_symlink() else ()
    return (*who, ("kernel", os.uname().release), *generation)


def _profile(
    options: VerifyOptions, machine: Machine, report: Report, screen: Screen, out: TextIO
) -> int:
    """Every rule of the profile, instead of every check; 8 with open ones of `fail_on` or above."""
    asked = profile(options.profile)
    rules = answers(asked, machine, report.findings)
    if options.ckl is not None:
        _write(options.ckl, as_ckl(asked, report, rules))
    if options.oscal is not None:
        _write(options.oscal, _json(as_oscal(asked, report, rules)))
    if options.as_json:
        out.write(_json({
            "profile": options.profile,
            "title": asked.full,
            "host": printable(report.host),
            "time": report.time.isoformat(timespec="seconds"),
            "rules": [rule.as_data() for rule in rules],
        }))  # fmt: skip
    else:
        screen.show_profile(report, rules, out)
    level = report.fail_on.rank
    failed = any(
        rule.standing is Standing.OPEN and SEVERITIES[rule.severity].rank >= level for rule in rules
    )
    return FindingsError.exit_code if failed else 0


def diff(
    before: Path,
    after: Path,
    screen: Screen,
    *,
    fail_on: Severity = Severity.HIGH,
    as_json: bool = False,
    out: TextIO | None = None,
) -> int:
    """Show what changed from one report to another: 8 if something of `fail_on` got worse.

    Raises SpecError for a file that is no report.
    """
    out = out or sys.stdout
    changes = compare.compare(compare.load(before), compare.load(after))
    if as_json:
        out.write(_json([change.as_data() for change in changes]))
    else:
        screen.show_changes(changes, out)
    worse = any(change.worse and change.severity.rank >= fail_on.rank for change in changes)
    return FindingsError.exit_code if worse else 0


def _ephemeral(options: VerifyOptions, screen: Screen, out: TextIO) -> None:
    try:
        found = mortals(options.root)
    except PermissionError as error:
        raise SpecError(str(error.filename), "may not be looked into", "run as root") from error
    if options.as_json:
        out.write(_json(found.as_data()))
    else:
        screen.show_mortals(found, out)


def _json(data: Any) -> str:
    # ASCII: no terminal, and no log, is shown anything but letters.
    return json.dumps(data, indent=1, ensure_ascii=True) + "\n"


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(
            str(file), f"the report cannot be written ({error.strerror})", "name another file"
        ) from error
