"""Patching what nixos-generate-config writes, by a parser. Pure: text in, text out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paranoid_install import nixlang, outside
from paranoid_install.errors import InstallError

if TYPE_CHECKING:
    from tree_sitter import Node


class HardwareError(InstallError):
    """hardware-configuration.nix is not what nixos-generate-config writes; it stays as it was."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "hardware-configuration.nix",
            problem,
            "run nixos-generate-config again and see what it wrote",
        )


@dataclass(frozen=True)
class Patch:
    """What the file must say afterwards.

    `root_options` are the options of `/`; `owned` the mount points whose bind entries belong to
    the persistence module; `labels` the file system label of each mount point, used where the
    generator took a loop device for a file.
    """

    root_options: tuple[str, ...]
    owned: frozenset[str]
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Entry:
    """One `fileSystems."…" = { … };`: its place in bytes, and its attributes."""

    start: int
    end: int
    mount_point: str
    attributes: dict[str, Node]
    body: Node


def read(path: Path) -> str:
    """The text of a hardware-configuration.nix. Raises HardwareError for what is not UTF-8."""
    try:
        return outside.read_text(path)
    except UnicodeDecodeError as error:
        raise HardwareError(f"is not UTF-8 (byte {error.start})") from None


def patch(text: str, wanted: Patch) -> str:
    """The text with `/` given its options, owned bind entries gone, loop devices named by label.

    All else stays byte for byte. Patching twice is patching once. Raises HardwareError for a
    text that does not parse, that declares `/` never or more than once, or that declares file
    systems in another form than the generator's.
    """
    source = text.encode()
    entries = list(_entries(source))
    roots = [entry for entry in entries if entry.mount_point == "/"]
    if len(roots) != 1:
        problem = 'has no fileSystems."/"' if not roots else f'has {len(roots)} of fileSystems."/"'
        raise HardwareError(problem)
    if _string(roots[0].attributes.get("fsType"), source) != "tmpfs":
        raise HardwareError('does not declare fileSystems."/" as a tmpfs')

    labels = dict(wanted.labels)
    edits: list[tuple[int, int, bytes]] = []
    for entry in entries:
        if entry is roots[0]:
            edits.append(_with_options(entry, wanted.root_options, source))
        elif entry.mount_point in wanted.owned and _is_bind(entry, source):
            edits.append((*_whole_lines(entry, source), b""))
        elif entry.mount_point in labels and _is_loop(entry, source):
            edits += _by_label(entry, labels[entry.mount_point], source)
    for start, end, replacement in sorted(edits, reverse=True):
        source = source[:start] + replacement + source[end:]
    return source.decode()


def _entries(source: bytes) -> Iterator[_Entry]:
    import tree_sitter_nix  # noqa: PLC0415 - a compiled grammar, needed by one step alone
    from tree_sitter import Language, Parser  # noqa: PLC0415

    tree = Parser(Language(tree_sitter_nix.language())).parse(source)
    if tree.root_node.has_error:
        raise HardwareError(f"does not parse (line {_error_line(tree.root_node)})")
    for binding in _module_bindings(tree.root_node):
        path = binding.child_by_field_name("attrpath")
        value = binding.child_by_field_name("expression")
        if path is None or value is None or not path.named_children:
            continue
        if _source(path.named_children[0], source) != "fileSystems":
            continue
        line = binding.start_point[0] + 1
        if len(path.named_children) != 2 or value.type != "attrset_expression":
            raise HardwareError(
                f"declares fileSystems in a form that is not the generator's (line {line})"
            )
        mount_point = _string(path.named_children[1], source)
        if mount_point is None:
            raise HardwareError(f"has a mount point that is not a plain string (line {line})")
        yield _Entry(
            binding.start_byte, binding.end_byte, mount_point, _attributes(value, source), value
        )


def _module_bindings(root: Node) -> list[Node]:
    """The bindings of the attribute set that the module's function returns."""
    body = next((c for c in root.named_children if c.type != "comment"), None)
    if body is not None and body.type == "function_expression":
        body = body.child_by_field_name("body")
    if body is None or body.type != "attrset_expression":
        raise HardwareError("is not a function that returns an attribute set")
    return _bindings(body)


def _bindings(attrset: Node) -> list[Node]:
    sets = [c for c in attrset.named_children if c.type == "binding_set"]
    return [b for s in sets for b in s.named_children if b.type == "binding"]


def _attributes(attrset: Node, source: bytes) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for binding in _bindings(attrset):
        path = binding.child_by_field_name("attrpath")
        value = binding.child_by_field_name("expression")
        if path is not None and value is not None:
            found[_source(path, source)] = value
    return found


def _with_options(entry: _Entry, options: tuple[str, ...], source: bytes) -> tuple[int, int, bytes]:
    wanted = nixlang.strings(options).encode()
    present = entry.attributes.get("options")
    if present is not None:
        return (present.start_byte, present.end_byte, wanted)
    last = _bindings(entry.body)[-1]
    indent = source[source.rfind(b"\n", 0, last.start_byte) + 1 : last.start_byte]
    # The first attribute of the generator's form stands behind the brace, not on its own line.
    indent = indent if indent.isspace() else b" " * len(indent)
    return (last.end_byte, last.end_byte, b"\n" + indent + b"options = " + wanted + b";")


def _by_label(entry: _Entry, label: str, source: bytes) -> list[tuple[int, int, bytes]]:
    device = entry.attributes.get("device")
    if device is None:
        raise HardwareError(f'has no device in fileSystems."{entry.mount_point}"')
    kept = [o for o in _options(entry, source) if o != "loop"]
    edits = [
        (device.start_byte, device.end_byte, nixlang.string(f"/dev/disk/by-label/{label}").encode())
    ]
    options = entry.attributes["options"]
    if kept:
        return [*edits, (options.start_byte, options.end_byte, nixlang.strings(kept).encode())]
    binding = options.parent
    if binding is None:
        raise HardwareError(f'has options of fileSystems."{entry.mount_point}" out of place')
    start = source.rfind(b"\n", 0, binding.start_byte)
    return [*edits, (start, binding.end_byte, b"")]


def _whole_lines(entry: _Entry, source: bytes) -> tuple[int, int]:
    """The entry's lines, and the blank one that the generator puts after it."""
    start = source.rfind(b"\n", 0, entry.start) + 1
    end = source.find(b"\n", entry.end) + 1 or len(source)
    if source[end : end + 1] == b"\n":
        end += 1
    return start, end


def _is_bind(entry: _Entry, source: bytes) -> bool:
    return "bind" in _options(entry, source)


def _is_loop(entry: _Entry, source: bytes) -> bool:
    return "loop" in _options(entry, source)


def _options(entry: _Entry, source: bytes) -> list[str]:
    node = entry.attributes.get("options")
    if node is None:
        return []
    items = [_string(child, source) for child in node.named_children]
    if node.type != "list_expression" or None in items:
        raise HardwareError(
            f'has options of fileSystems."{entry.mount_point}" that are no plain list'
        )
    return [item for item in items if item is not None]


def _string(node: Node | None, source: bytes) -> str | None:
    """The value of a string literal without escapes or interpolation; None for anything else."""
    if node is None or node.type != "string_expression":
        return None
    inner = node.named_children
    if not inner:
        return ""
    if len(inner) != 1 or inner[0].type != "string_fragment":
        return None
    return _source(inner[0], source)


def _source(node: Node, source: bytes) -> str:
    return source[node.start_byte : node.end_byte].decode()


def _error_line(node: Node) -> int:
    while node.has_error and not node.is_error and not node.is_missing:
        node = next((child for child in node.children if child.has_error or child.is_missing), node)
        if not node.children:
            break
    return node.start_point[0] + 1
