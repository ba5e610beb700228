"""A terminal: the plan as a table, a line a step with its time, the copy with bytes and rate."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from paranoid_install.journal import Event
from paranoid_install.plan import Plan
from paranoid_install.ui import clean, words


class Screen:
    """Follows a run on a terminal. To be used as a context manager, which owns the live area."""

    def __init__(self) -> None:
        self._console = console = Console(highlight=False)
        self._steps = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[tail]}"),
            console=console,
            transient=True,
        )
        self._copy = Progress(
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._step: TaskID | None = None
        self._copying: TaskID | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._copy.stop()
        self._steps.stop()

    def __call__(self, event: Event) -> None:
        data = event.data
        match event.kind:
            case "step":
                self._on_step(data)
            case "line" if self._step is not None:
                room = max(20, self._console.width - 60)
                self._steps.update(self._step, tail=escape(clean(str(data["text"]))[:room]))
            case "progress":
                self._on_progress(data)
            case "result":
                for name, value in words.result(data):
                    self._console.print(f"{name:>20}  {escape(clean(value))}", soft_wrap=True)
            case kind:
                text = escape(clean(words.sentence(kind, data)))
                if text:
                    style = "yellow" if kind == "warning" else "dim"
                    self._console.print(f"  {text}", style=style)

    def show(self, line: str) -> None:
        """A line for the person at the terminal, above what is redrawn."""
        self._console.print(escape(clean(line)), style="bold")

    def show_plan(self, plan: Plan) -> None:
        """The whole plan as a table, and what speaks against it."""
        self._console.print(plan_table(plan))

    def _on_step(self, data: Mapping[str, Any]) -> None:
        title = f"[bold]{data['id']:<10}[/] {escape(clean(str(data['title'])))}"
        if data["state"] == "begin":
            self._steps.start()
            self._step = self._steps.add_task(title, total=None, tail="")
            return
        if self._step is not None:
            self._steps.remove_task(self._step)
            self._step = None
        if self._copying is not None:
            self._copy.stop()
            self._copy.remove_task(self._copying)
            self._copying = None
        mark = "[green]✔[/]" if data["state"] == "done" else "[red]✘[/]"
        self._console.print(f"{mark} {title}  [dim]{data['seconds']:.1f} s[/]")

    def _on_progress(self, data: Mapping[str, Any]) -> None:
        paths = f"{data['paths_done']} of {data['paths_total']} store paths"
        if self._copying is None:
            self._steps.stop()
            self._copy.start()
            self._copying = self._copy.add_task(paths, total=data["total"])
        self._copy.update(self._copying, completed=data["done"], description=paths)


def plan_table(plan: Plan) -> Table:
    """The whole plan: every command in full, every file to be written."""
    table = Table(title=f"Plan {plan.hash[:12]} for {plan.disk['path']}", title_justify="left")
    table.add_column("step", style="bold", no_wrap=True)
    table.add_column("what is done", overflow="fold")
    for step in plan.steps:
        style = "red" if step.destructive else "default"
        table.add_row(f"[{style}]{step.id}[/]", f"[dim]# {escape(clean(step.title))}[/]")
        for action in step.actions:
            table.add_row("", escape(clean(action.line)))
        table.add_section()
    return table
