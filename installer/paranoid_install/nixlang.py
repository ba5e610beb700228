"""Values as Nix source. The one place where text becomes part of a Nix expression."""

from __future__ import annotations

from collections.abc import Sequence


def string(text: str) -> str:
    """A Nix string literal that evaluates to `text`.

    Raises ValueError for what no Nix string can hold: a NUL byte, or a lone surrogate.
    Source: the Nix manual, "String literal".
    """
    if "\0" in text:
        raise ValueError(f"{text!r} holds a NUL byte, which no Nix string can")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not valid UTF-8") from None
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    # A bare carriage return in a literal is read as a line feed.
    return '"' + escaped.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t") + '"'


def strings(items: Sequence[str]) -> str:
    """A Nix list of strings."""
    return f"[ {''.join(string(item) + ' ' for item in items)}]"
