"""The command line. Reads words, calls the package, turns errors into sentences and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paranoid_install import __version__
from paranoid_install.cli_verify import app as verify
from paranoid_install.cli_watch import watch
from paranoid_install.errors import InstallError, SpecError, StepError, keep_traceback
from paranoid_install.signals import Interrupted, Signals
from paranoid_install.ui.stream import failure, fill_the_standard_descriptors, lasting

if TYPE_CHECKING:
    from paranoid_install.journal import Event, Journal
    from paranoid_install.plan import Plan

app = typer.Typer(
    name="paranoid-install",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(verify, name="verify")

_PRINTING = ("verify", "watch")
"""Commands that deal with a standard output that fails themselves: it is what they are for."""

_UMASK = 0o022
"""What root makes is for others to read unless its own mode says less, and never to write."""


def _version(value: bool) -> None:
    if value:
        print(f"paranoid-install {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def install(
    context: typer.Context,
    disk: Annotated[
        str,
        typer.Option(
            metavar="DISK",
            help="Disk to install to: a device (/dev/vda, /dev/disk/by-id/…), an image file, or a "
            "rule that must mean exactly one disk: auto (the only blank one), serial=…, wwn=…, "
            "size>=20G.",
        ),
    ] = "",
    image_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Create the image file with this size.")
    ] = "",
    tmpfs_size: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Size of the volatile root: 512M, 2G, or 50% of memory."),
    ] = "",
    root: Annotated[
        str,
        typer.Option(metavar="DIR", help="Where the new system is put together. [default: /mnt]"),
    ] = "",
    firmware: Annotated[
        str,
        typer.Option(
            metavar="KIND", help="auto, bios or uefi. [default: auto, as this machine started]"
        ),
    ] = "",
    wipe: Annotated[
        str,
        typer.Option(
            metavar="SERIAL",
            help="Erase the disk although it is not blank; names it by its serial, so that no "
            "other is meant.",
        ),
    ] = "",
    system: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="System to install, already built (a toplevel in /nix/store); nothing is "
            "evaluated. Of several, the one for this firmware.",
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="DIR", help="Directory with the configuration.nix to install.")
    ] = "",
    flake: Annotated[
        str, typer.Option(metavar="REF", help="Flake whose NixOS configuration to install.")
    ] = "",
    hostname: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Host name of the default configuration. [default: paranoid]"
        ),
    ] = "",
    ssh_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY|FILE",
            help="Public key that lets root in, or a file of them. [default: the keys of this "
            "machine's root]",
        ),
    ] = None,
    generate_root_password: Annotated[
        bool,
        typer.Option(
            "--generate-root-password",
            help="Make a password for root, show it once, and keep only its hash.",
        ),
    ] = False,
    root_password_hash_file: Annotated[
        str, typer.Option(metavar="FILE", help="File with root's password hash (mkpasswd).")
    ] = "",
    skip_login_check: Annotated[
        bool, typer.Option("--skip-login-check", help="Install even if nobody could log in.")
    ] = False,
    seal: Annotated[
        bool, typer.Option("--seal", help="For an image: each copy makes its own keys and id.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not check the store paths' hashes.")
    ] = False,
    answers: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="TOML file with any of these settings. [default: "
            "/etc/paranoid/answers.toml, if there is one]",
        ),
    ] = "",
    plan_hash: Annotated[
        str,
        typer.Option(
            metavar="HASH", help="Stop unless the plan is the one with this hash (--dry-run)."
        ),
    ] = "",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run that was cut off, from its first unfinished step."
        ),
    ] = False,
    wait_for_disk: Annotated[
        str,
        typer.Option(metavar="SECONDS", help="Wait so long for a disk that fits. [default: 0]"),
    ] = "",
    countdown: Annotated[
        str,
        typer.Option(metavar="SECONDS", help="Count down before the disk is erased. [default: 0]"),
    ] = "",
    then: Annotated[
        str,
        typer.Option(
            metavar="WHAT", help="poweroff, reboot or nothing at the end. [default: nothing]"
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the whole plan and change nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on standard output.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Plain lines, also on a terminal.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - typer calls _version
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn a blank disk into an amnesiac, locked-down NixOS machine.

    paranoid-install --disk /dev/vda --tmpfs-size 2G

    Every setting is also PARANOID_… in the environment, paranoid.…= on the kernel command line,
    and a key of the answer file; the first of these that says it wins.

    Exit codes: 0 installed. The disk was not touched: 2 the request is wrong, 3 refused, 4 a
    step failed, 7 another run is at work. The disk was changed: 5 a step failed, 6 and something
    is still mounted.
    """
    if context.invoked_subcommand not in _PRINTING:
        sys.stdout = lasting(sys.stdout)
    if context.invoked_subcommand is not None:
        return
    flags = {
        "disk": _one(disk),
        "image-size": _one(image_size),
        "tmpfs-size": _one(tmpfs_size),
        "root": _one(root),
        "firmware": _one(firmware),
        "wipe": _one(wipe),
        "system": tuple(system or ()),
        "config": _one(config),
        "flake": _one(flake),
        "hostname": _one(hostname),
        "ssh-key": tuple(ssh_key or ()),
        "generate-root-password": _one("true" if generate_root_password else ""),
        "root-password-hash-file": _one(root_password_hash_file),
        "skip-login-check": _one("true" if skip_login_check else ""),
        "seal": _one("true" if seal else ""),
        "no-verify": _one("true" if no_verify else ""),
        "plan-hash": _one(plan_hash),
        "resume": _one("true" if resume else ""),
        "wait-for-disk": _one(wait_for_disk),
        "countdown": _one(countdown),
        "then": _one(then),
    }
    signals: Signals = context.obj
    _install(flags, answers, signals, dry_run=dry_run, as_json=as_json, plain=plain)


@app.command()
def patch(
    file: Annotated[Path, typer.Argument(help="hardware-configuration.nix, changed in place.")],
    tmpfs_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Size of the volatile root.")
    ] = "",
) -> None:
    """Patch what nixos-generate-config wrote on an installed machine, as the install did."""
    from paranoid_install.rewrite import patch_file  # noqa: PLC0415

    kept = patch_file(file, tmpfs_size)
    print(f"{file}: {f'patched; the old one is {kept}' if kept else 'already as it should be'}")


@app.command()
def status() -> None:
    """Tell what the last run of this boot has done, and what it may still hold."""
    from paranoid_install.install import status as lines  # noqa: PLC0415
    from paranoid_install.ui import clean as printable  # noqa: PLC0415

    for line in lines():
        print(printable(line))
    _delivered()


@app.command()
def clean(context: typer.Context) -> None:
    """Release what a killed run still holds: mounts and loop devices. Ends with 6 if it cannot."""
    from paranoid_install.install import clean as release  # noqa: PLC0415
    from paranoid_install.journal import Journal  # noqa: PLC0415
    from paranoid_install.ui.plain import Plain  # noqa: PLC0415

    failed = release(Journal([Plain(sys.stdout)]), context.obj, _say)
    if failed:
        raise typer.Exit(6)
    print("nothing of an earlier run is held")


@app.command()
def installed(
    context: typer.Context,
    answers: Annotated[str, typer.Option(metavar="FILE", help="As for an install.")] = "",
) -> None:
    """Tell which system boots from the disk that the request means, where it is installed already.

    Prints the device of its store and the system in it. Ends with 3 where nothing is to be booted.
    """
    from paranoid_install.install import installed as look  # noqa: PLC0415

    found = look(answers, context.obj)
    print(found.device, found.toplevel, sep="\n")
    _delivered()


app.command()(watch)


def main() -> int:
    """Run the command line; the exit code answers whether the disk was touched.

    Whatever becomes of the output, that is what it answers.
    """
    fill_the_standard_descriptors()
    sys.stderr = lasting(sys.stderr)
    # Once and for all: what a live system was started with is not known.
    os.umask(_UMASK)
    signals = Signals()
    with signals.raised():
        try:
            app(obj=signals)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except Interrupted as error:
            _say(f"stopped by {error}", *getattr(error, "__notes__", ()))
            return error.exit_code
        except InstallError as error:
            _show(error)
            return error.code if isinstance(error, StepError) else error.exit_code
        except Exception as error:
            _say(f"this is a bug in paranoid-install: {error!r}; see {keep_traceback(error)}")
            return 1
    return 0


def _install(
    flags: dict[str, tuple[str, ...]],
    answers: str,
    signals: Signals,
    *,
    dry_run: bool,
    as_json: bool,
    plain: bool,
) -> None:
    from paranoid_install import install as steps  # noqa: PLC0415
    from paranoid_install.journal import Journal  # noqa: PLC0415
    from paranoid_install.ui import is_screen  # noqa: PLC0415
    from paranoid_install.ui import plain as lines  # noqa: PLC0415
    from paranoid_install.ui.jsonl import JsonLines  # noqa: PLC0415
    from paranoid_install.ui.terminal import Terminals  # noqa: PLC0415

    journal = Journal()
    if as_json:
        journal.listeners.append(JsonLines(sys.stdout))
    else:
        journal.listeners.append(_tell_of_waiting)
    prepared = None
    try:
        wanted = steps.read_spec(flags, answers)
        with ExitStack() as stack:
            on_screen = not (as_json or plain) and is_screen(sys.stdout)
            terminals = None
            if wanted.generate_root_password and not (dry_run or on_screen):
                terminals = Terminals(stack)
            prepared = steps.prepare(wanted, journal, signals, None if dry_run else stack)
            show: Callable[[str], None] = _say
            if on_screen:
                show = _on_screen(prepared.plan, journal, stack)
            elif not as_json:
                lines.show_plan(prepared.plan, sys.stdout)
                journal.listeners.append(lines.Plain(sys.stdout))
            if not dry_run:
                stack.callback(_tell_of_lost_output)
                steps.execute(wanted, prepared, journal, signals, show, terminals or show)
            elif as_json:
                journal.emit("plan", **prepared.plan.as_data())
            else:
                steps.warn(prepared.plan, journal)
        if dry_run:
            _delivered()
    except InstallError as error:
        # What fails later is among the run's own events already.
        if as_json and prepared is None:
            journal.emit("error", **error.as_data())
        raise


def _on_screen(plan: Plan, journal: Journal, stack: ExitStack) -> Callable[[str], None]:
    from paranoid_install.ui import console  # noqa: PLC0415

    screen = stack.enter_context(console.Screen())
    screen.show_plan(plan)
    journal.listeners.append(screen)
    return screen.show


def _tell_of_waiting(event: Event) -> None:
    if event.kind == "waiting":
        _say(str(event.data["text"]))


def _tell_of_lost_output() -> None:
    from paranoid_install.journal import RUN_JOURNAL  # noqa: PLC0415

    reason = failure(sys.stdout)
    if reason:
        _say(f"warning: standard output failed ({reason}); all of it is in {RUN_JOURNAL}")


def _one(value: str) -> tuple[str, ...]:
    return (value,) if value else ()


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _delivered() -> None:
    """See that what was printed is whole, where nothing else was asked for. Raises SpecError."""
    reason = failure(sys.stdout)
    if reason:
        raise SpecError("standard output", f"could not be written ({reason})", "give another")


def _show(error: InstallError) -> None:
    from paranoid_install.ui import clean  # noqa: PLC0415

    _say(*(clean(line) for line in error.report()))
