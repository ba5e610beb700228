"""Names of files as records have them: bytes, which nobody has tidied up."""

from __future__ import annotations


def within(path: bytes, directory: bytes) -> bool:
    """Below `directory` (it ends with /), and never above it on the way: `..` may meet a link."""
    if not path.startswith(directory) or len(path) == len(directory):
        return False
    rest = path[len(directory) :]
    if b"." not in rest and b"//" not in rest:
        return True
    depth = 0
    for part in rest.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 1:
                return False
        elif part not in (b"", b"."):
            depth += 1
    return depth > 0


def below(path: bytes, rule: bytes) -> bool:
    """Whether `rule` names the path itself or, with / at the end, a directory above it."""
    return path.startswith(rule) if rule.endswith(b"/") else path == rule


def lexical(path: bytes) -> bytes:
    """An absolute path without `.`, `..` and double slashes, links not looked at."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)
