"""Measures the copy of a closure against other ways: `python -m bench [--smoke]`, as root.

Prints tables, writes every sample to speed.json, and draws speed.svg and growth.svg.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from bench import corpus, measure, methods, report, scene

_HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a tiny closure, one run, all checked")
    parser.add_argument("--runs", type=int, default=5, help="runs of each way (median of 5)")
    parser.add_argument("--growth-runs", type=int, default=3, help="runs of each point of growth")
    parser.add_argument("--out", type=Path, default=_HERE / "results", help="where results go")
    parser.add_argument("--scratch", type=Path, help="an empty directory on the disk to measure")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--closure", action="append", help="only this one; may be repeated")
    parser.add_argument("--way", action="append", help="only this way; may be repeated")
    parser.add_argument("--no-growth", action="store_true", help="only compare")
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    asked = parser.parse_args(argv)
    scene.own_mounts()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.scratch) as scratch:
        result = run(Path(scratch), asked)
    report.show(result)


def _save(result: report.Result, asked: argparse.Namespace) -> None:
    """Write what there is so far: a full run takes half an hour."""
    asked.out.mkdir(parents=True, exist_ok=True)
    result.write(asked.out / "speed.json")
    if not asked.no_plot:
        report.plot(result, asked.out / "speed.svg", asked.out / "growth.svg")


def run(scratch: Path, asked: argparse.Namespace) -> report.Result:
    """Measure, with all files and mounts below `scratch`."""
    shapes = [corpus.SMOKE] if asked.smoke else [corpus.SYSTEM, corpus.SMALL]
    shapes = [shape for shape in shapes if not asked.closure or shape.name in asked.closure]
    runs = 1 if asked.smoke else asked.runs
    result = report.Result(measure.machine(), asked.note, runs)
    for shape in shapes:
        with _sources(shape, scratch) as pair:
            blob = _blob(pair[0].corpus, scratch)
            for source in pair:
                result.comparisons.append(compare(source, scratch, blob, runs, asked.way))
                _save(result, asked)
    if not (asked.smoke or asked.no_growth):
        _memory(result, scratch)
        _save(result, asked)
        _grow(result, scratch, asked.growth_runs)
        _save(result, asked)
    return result


@contextmanager
def _sources(shape: corpus.Shape, scratch: Path) -> Iterator[tuple[scene.Source, scene.Source]]:
    """One closure, as a directory and as a live image."""
    made = corpus.make(shape, scratch / shape.name)
    with scene.live(made, scratch) as live:
        yield scene.Source("directory", made.root, made), live


def compare(
    source: scene.Source, scratch: Path, blob: Path, runs: int, only: Sequence[str] | None
) -> report.Comparison:
    """Every way in turn, then all again: a load that comes and goes meets each of them.

    The order is another each time: what ran before leaves the memory in its state, and a run after
    `dd` takes a tenth longer than one after any other.
    """
    shape = source.corpus.shape
    compared = report.Comparison(shape.name, source.kind, shape.paths, shape.files, shape.bytes)
    ways = methods.all_of(source, scratch / "root", blob)
    ways = [way for way in ways if not only or way.name in only]
    compared.samples |= {way.name: [] for way in ways}
    order = random.Random(shape.seed)
    for number in range(runs):
        for way in order.sample(ways, len(ways)):
            sample = measure.once(way, source, scratch, check=number == 0)
            compared.samples[way.name].append(sample)
            print(
                f"{source.corpus.shape.name} {source.kind} {way.name}: {sample.wall:.2f} s",
                flush=True,
            )
    return compared


def _grow(result: report.Result, scratch: Path, runs: int) -> None:
    base = replace(corpus.SYSTEM, paths=300, files=6000, bytes=300_000_000)
    with _sources(replace(base, name="processes"), scratch) as pair:
        for source in pair:
            workers = report.Growth("processes", source.kind)
            for count in (1, 2, 3, 4, 8):
                workers.points.append((count, _median(source, scratch, runs, count)))
            result.growth.append(workers)
    by_bytes = [replace(base, bytes=size * 1_000_000) for size in (75, 150, 300, 600, 1200)]
    by_paths = [replace(base, paths=paths) for paths in (75, 300, 1200, 4800)]
    for quantity, shapes in (("megabytes", by_bytes), ("paths", by_paths)):
        lines = {kind: report.Growth(quantity, kind) for kind in ("directory", "squashfs")}
        for index, shape in enumerate(shapes):
            value = shape.bytes / 1e6 if quantity == "megabytes" else shape.paths
            with _sources(replace(shape, name=f"{quantity}-{index}"), scratch) as pair:
                for source in pair:
                    lines[source.kind].points.append((value, _median(source, scratch, runs)))
        result.growth += lines.values()


def _memory(result: report.Result, scratch: Path) -> None:
    shape = replace(corpus.SYSTEM, name="large", paths=1000, files=20_000, bytes=2 * 1024**3)
    with _sources(shape, scratch) as pair:
        for source in pair:
            peak = measure.memory(methods.ours(source, scratch / "root"), source, scratch)
            result.memory[f"2 GiB from a {source.kind}"] = asdict(peak)


def _median(source: scene.Source, scratch: Path, runs: int, workers: int | None = None) -> float:
    way = methods.ours(source, scratch / "root", workers=workers)
    walls = [measure.once(way, source, scratch, check=False).wall for _ in range(runs)]
    return statistics.median(walls)


def _blob(made: corpus.Corpus, scratch: Path) -> Path:
    """The closure's own bytes in one file: what a disk image would be written from."""
    blob = scratch / f"{made.shape.name}.blob"
    with blob.open("wb") as out:
        for path in sorted((made.root / "nix/store").rglob("*")):
            if path.is_file() and not path.is_symlink():
                out.write(path.read_bytes())
    return blob


if __name__ == "__main__":
    main()
