"""Completion of the shells, written once when the package is built, from the command line itself.

    python completions.py bash|fish|zsh

Static on purpose: typer's own calls the program at every press of the key.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer

from paranoid_install.cli import app

NAME = "paranoid-install"


def options() -> Iterator[tuple[str, str, bool]]:
    """Each long option of the install with its help, and whether it takes a value."""
    for parameter in typer.main.get_command(app).params:
        for name in parameter.opts:
            if name.startswith("--"):
                text = (getattr(parameter, "help", None) or "").split(". ")[0].split(": ")[0]
                yield name, text.rstrip("."), not getattr(parameter, "is_flag", False)


def commands() -> dict[str, str]:
    """Each subcommand with the first line of its help."""
    found = getattr(typer.main.get_command(app), "commands", {})
    return {name: (command.help or "").split("\n")[0] for name, command in found.items()}


def bash() -> Iterator[str]:
    words = [*(name for name, _, _ in options()), *commands()]
    yield f"complete -o default -W '{' '.join(words)}' {NAME}"


def fish() -> Iterator[str]:
    for name, text, valued in options():
        value = " --require-parameter" if valued else ""
        yield f"complete -c {NAME} -l {name[2:]}{value} -d {_quoted(text)}"
    for name, text in commands().items():
        yield f"complete -c {NAME} -n __fish_use_subcommand -a {name} -d {_quoted(text)}"


def zsh() -> Iterator[str]:
    yield f"#compdef {NAME}"
    yield "_arguments \\"
    for name, text, valued in options():
        label = text.replace("[", "(").replace("]", ")").replace(":", "\\:")
        yield f"  {_quoted(f'{name}[{label}]' + (': :_files' if valued else ''))} \\"
    yield f"  '1: :({' '.join(commands())})'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    print("\n".join({"bash": bash, "fish": fish, "zsh": zsh}[sys.argv[1]]()))
