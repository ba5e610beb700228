"""The command line of `verify`; cli.py hangs it in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paranoid_install.verify.terms import Severity

app = typer.Typer(invoke_without_command=True)

_FailOn = Annotated[
    Severity, typer.Option("--fail-on", help="The least severity that makes the exit code 8.")
]


@app.callback()
def verify(
    context: typer.Context,
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="Check the disk that is mounted there instead.")
    ] = Path("/"),
    fail_on: _FailOn = Severity.HIGH,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Findings that are accepted, with reason and end."),
    ] = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Tell only what dies at the next boot.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    sarif: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report in SARIF, too.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report for JUnit readers, too.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report in HTML, too.")
    ] = None,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="Answer the rules of stig, anssi or cis instead.")
    ] = "",
    ckl: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the profile as a checklist, too.")
    ] = None,
    oscal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the profile in OSCAL, too.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Draw the store's sample as that run did.")
    ] = None,
) -> None:
    """Check a machine against the policy. Changes nothing.

    Exit codes: 0 no findings of the severity asked for; 8 findings; 2 the request is wrong.
    """
    # It holds nothing that would have to be released.
    context.obj.end_at_once()
    if context.invoked_subcommand is not None:
        return
    from paranoid_install.runner import ShRunner  # noqa: PLC0415
    from paranoid_install.ui import findings  # noqa: PLC0415
    from paranoid_install.verify.command import VerifyOptions, run  # noqa: PLC0415

    options = VerifyOptions(
        root,
        fail_on,
        baseline,
        as_json,
        sarif,
        junit,
        html,
        ephemeral,
        profile,
        ckl,
        oscal,
        seed,
    )
    raise typer.Exit(run(options, ShRunner(shield=context.obj.shield, cautious=True), findings))


@app.command("diff")
def difference(
    before: Annotated[Path, typer.Argument(help="A report of `verify --json`.")],
    after: Annotated[Path, typer.Argument(help="A later one.")],
    fail_on: _FailOn = Severity.HIGH,
    as_json: Annotated[bool, typer.Option("--json", help="Print the changes as JSON.")] = False,
) -> None:
    """Tell what changed between two reports. Exit code 8 if something got worse."""
    from paranoid_install.ui import findings  # noqa: PLC0415
    from paranoid_install.verify.command import diff  # noqa: PLC0415

    raise typer.Exit(diff(before, after, findings, fail_on=fail_on, as_json=as_json))
