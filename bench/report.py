"""The result of a run as data, as a table and as plots."""

from __future__ import annotations

import importlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import Sample
from bench.methods import FLOOR, NIXOS_INSTALL, OURS


@dataclass
class Comparison:
    """Every method's samples for one closure and one kind of source."""

    closure: str
    source: str
    paths: int
    files: int
    bytes: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def median(self, method: str) -> float:
        """Median wall time in seconds."""
        return statistics.median(sample.wall for sample in self.samples[method])

    @property
    def title(self) -> str:
        size = self.bytes / 1e6
        return (
            f"{self.closure}: {self.paths} paths, {self.files} files, {size:.0f} MB, {self.source}"
        )


@dataclass
class Growth:
    """How this installer's time in seconds follows one quantity: (value, median) pairs."""

    quantity: str
    source: str
    points: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Result:
    """All of a run."""

    machine: dict[str, str | int]
    note: str
    runs: int
    comparisons: list[Comparison] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write all samples as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Method, median, range, CPU seconds, against nixos-install, against us, share of the floor."""
    table: list[tuple[str, ...]] = []
    for name, samples in comparison.samples.items():
        median = comparison.median(name)
        walls = [sample.wall for sample in samples]
        cpu = statistics.median(sample.cpu for sample in samples)
        table.append(
            (
                name,
                f"{median:.2f}",
                f"{min(walls):.2f}–{max(walls):.2f}",
                f"{cpu:.2f}",
                _ratio(comparison, NIXOS_INSTALL, median),
                f"{median / comparison.median(OURS):.2f}" if OURS in comparison.samples else "",
                f"{comparison.median(FLOOR) / median:.0%}" if FLOOR in comparison.samples else "",
            )
        )
    return table


HEADINGS = ("", "median s", "range s", "CPU s", "× faster than nixos-install", "× ours", "of floor")


def _ratio(comparison: Comparison, other: str, median: float) -> str:
    return f"{comparison.median(other) / median:.2f}" if other in comparison.samples else ""


def show(result: Result) -> None:
    """Print the tables."""
    from rich.console import Console  # noqa: PLC0415 - not needed to measure
    from rich.table import Table  # noqa: PLC0415

    console = Console(width=120)
    for comparison in result.comparisons:
        table = Table(*HEADINGS, title=comparison.title)
        for row in rows(comparison):
            table.add_row(*row)
        console.print(table)
    for growth in result.growth:
        points = "  ".join(f"{value:g}: {seconds:.2f} s" for value, seconds in growth.points)
        console.print(f"{growth.quantity} ({growth.source})  {points}")
    for name, peak in result.memory.items():
        sizes = ", ".join(f"{key} {value / 2**20:.0f} MiB" for key, value in peak.items())
        console.print(f"memory, {name}: {sizes}")


def markdown(comparison: Comparison) -> str:
    """The table for the documentation."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *rows(comparison)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(result: Result, bars: Path, growth: Path) -> None:
    """Draw the comparisons and the growth as SVG. Needs matplotlib."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bench"
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    _bars(pyplot, result.comparisons, bars)
    if result.growth:
        _lines(pyplot, result.growth, growth)


def _bars(pyplot: Any, comparisons: Sequence[Comparison], path: Path) -> None:
    columns = 2 if len(comparisons) > 1 else 1
    lines = -(-len(comparisons) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(6.2 * columns, 2.9 * lines), squeeze=False, layout="constrained"
    )
    for axis, comparison in zip(axes.flat, comparisons, strict=False):
        names = sorted(comparison.samples, key=comparison.median, reverse=True)
        medians = [comparison.median(name) for name in names]
        walls = [[sample.wall for sample in comparison.samples[name]] for name in names]
        spread = [
            [median - min(wall) for median, wall in zip(medians, walls, strict=True)],
            [max(wall) - median for median, wall in zip(medians, walls, strict=True)],
        ]
        colours = [_colour(name) for name in names]
        bars = axis.barh(names, medians, xerr=spread, color=colours, ecolor="#666666")
        axis.bar_label(bars, [f"{median:.1f} s" for median in medians], padding=4, fontsize=8)
        axis.set_title(comparison.title, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_xlabel("seconds, median and range; less is better", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _colour(name: str) -> str:
    if name.startswith(OURS):
        return "#2a7f62"
    return "#bbbbbb" if name == FLOOR else "#5b7db1"


def _lines(pyplot: Any, growth: Sequence[Growth], path: Path) -> None:
    quantities = list(dict.fromkeys(item.quantity for item in growth))
    figure, axes = pyplot.subplots(
        1, len(quantities), figsize=(4 * len(quantities), 3), squeeze=False, layout="constrained"
    )
    for axis, quantity in zip(axes.flat, quantities, strict=True):
        for item in growth:
            if item.quantity == quantity:
                values, seconds = zip(*item.points, strict=True)
                axis.plot(values, seconds, marker="o", label=item.source)
        axis.set_xlabel(quantity, fontsize=9)
        axis.set_ylabel("seconds", fontsize=9)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
