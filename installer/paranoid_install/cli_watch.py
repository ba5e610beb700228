"""The command line of `watch`; cli.py hangs it in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paranoid_install.signals import Interrupted, Signals


def watch(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="Where audit records come from: journal, - (standard input), a file. [default:"
            " journal] After --replay: further files."
        ),
    ] = None,
    replay: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Read files once instead, in this order (.gz, .xz, .bz2)."
        ),
    ] = None,
    allow_path: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Let programs below this path pass.")
    ] = None,
    allow_unit: Annotated[
        list[str] | None, typer.Option(metavar="UNIT", help="Let programs of this unit pass.")
    ] = None,
    to_journal: Annotated[
        bool, typer.Option("--journal", help="Send alerts to the journal, with their message id.")
    ] = False,
    to_file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Append alerts as JSON lines.")
    ] = None,
    webhook: Annotated[str, typer.Option(metavar="URL", help="Post alerts there.")] = "",
    webhook_token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the webhook's bearer token.")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(min=0, help="Alerts of one kind a minute, 0: all. [default: the policy's]"),
    ] = None,
    store_device: Annotated[
        str | None, typer.Option(metavar="MAJ:MIN", help="The store's device, as in PATH records.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep how far the journal was read; go on from there."),
    ] = None,
    no_prove: Annotated[
        bool, typer.Option("--no-prove", help="Do not compare inodes with this machine's store.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print alerts as JSON lines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no alerts.")] = False,
) -> None:
    """Report programs that were started from outside /nix/store, from audit records.

    Exit codes: 0 stopped, or nothing found; 8 the files replayed hold findings; 4 they could not
    all be read, or the stream ended by itself.
    """
    from paranoid_install.errors import SpecError  # noqa: PLC0415
    from paranoid_install.runner import ShRunner  # noqa: PLC0415
    from paranoid_install.watch.command import WatchOptions, run  # noqa: PLC0415

    named = source or []
    if not replay and len(named) > 1:
        raise SpecError(named[1], "only one source can be watched", "name one, or use --replay")
    options = WatchOptions(
        source=named[0] if named and not replay else "journal",
        replay=(*replay, *map(Path, named)) if replay else (),
        allow_paths=tuple(allow_path or ()),
        allow_units=tuple(allow_unit or ()),
        to_journal=to_journal,
        to_file=to_file,
        webhook=webhook,
        webhook_token_file=webhook_token_file,
        rate=rate,
        as_json=as_json,
        quiet=quiet,
        store_device=store_device,
        prove=not no_prove,
        resume=resume,
    )
    signals: Signals = context.obj
    try:
        code = run(options, ShRunner(shield=signals.shield, cautious=True))
    except Interrupted:
        # To be stopped is how a watch ends.
        code = 0
    raise typer.Exit(code)
