"""What a row of packages.toml asks for, as Nix hands it over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Order:
    """One package to lay out. `row` is its row, `taken` the attributes of nixpkgs that it takes."""

    name: str
    row: dict[str, Any]
    debs: tuple[Path, ...]
    out: Path
    others: dict[str, Path]
    libraries: Path
    interpreters: dict[str, Path]
    taken: dict[str, Any]


def read(file: Path) -> Order:
    """The order in Nix's structured attributes ($NIX_ATTRS_JSON_FILE)."""
    attributes = json.loads(file.read_text())
    outputs = {name: Path(path) for name, path in attributes["outputs"].items()}
    out = outputs.pop("out" if "out" in outputs else next(iter(outputs)))
    row = attributes["entry"]
    return Order(
        name=row["name"],
        row=row,
        debs=tuple(Path(deb) for deb in attributes.get("debs", [])),
        out=out,
        others=outputs,
        libraries=Path(attributes.get("libraries", "/")) / "lib",
        interpreters={name: Path(path) for name, path in attributes["interpreters"].items()},
        taken={name: attributes[name] for name in row.get("takes", [])},
    )
