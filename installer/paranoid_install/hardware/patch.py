"""Patching hardware-configuration.nix: text in, text out, and not a byte more than needed. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paranoid_install import nixlang, outside
from paranoid_install.hardware import tree
from paranoid_install.hardware.errors import HardwareError
from paranoid_install.hardware.tree import Entry

if TYPE_CHECKING:
    from tree_sitter import Node

_BLANK = b" \t"


@dataclass(frozen=True)
class Patch:
    """What the file must say afterwards.

    `root_options` are the options of `/`; `owned` the mount points that belong to the persistence
    module, each with the directory that it binds there; `labels` the file system label of each
    mount point, used where the generator took a loop device for a file. `devices` are the names by
    which mount points must find their device, whatever the generator called it.
    """

    root_options: tuple[str, ...]
    owned: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    devices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Edit:
    """Bytes from `start` to `end` become `new`. `gone` and `made` are the bindings concerned."""

    start: int
    end: int
    new: bytes = b""
    gone: tuple[tuple[str, ...], ...] = ()
    made: tuple[tuple[str, ...], ...] = ()


def read(path: Path) -> str:
    """The text of a hardware-configuration.nix. Raises HardwareError for what is not UTF-8."""
    try:
        return outside.read_text(path)
    except UnicodeDecodeError as error:
        raise HardwareError(f"is not UTF-8 (byte {error.start})") from None


def patch(text: str, wanted: Patch) -> str:
    """The text with `/` given its options, owned bind entries gone, loop devices named by label.

    All else stays byte for byte, which is checked on the result. Patching twice is patching once.
    Raises HardwareError for a text that does not parse, that does not declare `/` as a tmpfs, or
    in which what has to be changed cannot be told from what has not.
    """
    source = text.encode()
    before = tree.parse(source)
    edits = [edit for entry in _entries(before) for edit in _edits(entry, wanted, source)]
    untouched = len(source)
    for edit in sorted(edits, key=lambda e: (e.start, e.end), reverse=True):
        # Two neighbours that go both claim the blanks between them.
        end = min(edit.end, untouched)
        source = source[: edit.start] + edit.new + source[end:]
        untouched = edit.start
    check(before, source, edits)
    return source.decode()


def check(before: Node, source: bytes, edits: list[_Edit]) -> None:
    """Raise HardwareError unless all bindings but the edits' are in the new text as they were."""
    expected = tree.content(before)
    for edit in edits:
        expected.subtract(Counter(edit.gone))
        expected.update(Counter(edit.made))
    if tree.content(tree.parse(source)) != +expected:
        raise HardwareError(
            "would lose more than is meant by the patch, so nothing is changed", "patch it by hand"
        )


def _entries(root: Node) -> list[Entry]:
    found = tree.entries(root)
    top = next((entry for entry in found if entry.mount_point == "/"), None)
    if top is None:
        raise HardwareError('has no fileSystems."/"')
    if top.string("fsType") != "tmpfs":
        line = tree.line_of(top.bindings[0])
        raise HardwareError(f'does not declare fileSystems."/" as a tmpfs (line {line})')
    return found


def _edits(entry: Entry, wanted: Patch, source: bytes) -> list[_Edit]:
    labels = dict(wanted.labels)
    if entry.mount_point == "/":
        return [_with_options(entry, wanted.root_options, source)]
    # A bind of something else onto the same place is somebody's own.
    owned = dict(wanted.owned).get(entry.mount_point)
    if owned is not None and entry.string("device") == owned and "bind" in _options(entry):
        return [_without(binding, source) for binding in entry.bindings]
    device = dict(wanted.devices).get(entry.mount_point)
    if device is None and entry.mount_point in labels and "loop" in _options(entry):
        device = by_label(labels[entry.mount_point])
    return _found_by(entry, device, source) if device is not None else []


def _with_options(entry: Entry, options: tuple[str, ...], source: bytes) -> _Edit:
    wanted = nixlang.strings(options)
    present = entry.attributes.get("options")
    if present is not None:
        # Whatever was computed there would be lost.
        _options(entry)
        return _changed(present, entry.value("options"), wanted)
    # Beside the one attribute that is known to be there, written as that one is.
    beside = entry.attributes["fsType"]
    path = tree.text_of(beside.child_by_field_name("attrpath"))
    name = path.removesuffix("fsType") + "options"
    start = source.rfind(b"\n", 0, beside.start_byte) + 1
    indent = source[start : beside.start_byte]
    space = _line_end(source, beside.start_byte) + indent if not indent.strip(_BLANK) else b" "
    end = beside.end_byte
    made = (*_path(beside)[:-1], name, wanted)
    return _Edit(end, end, space + f"{name} = {wanted};".encode(), made=(made,))


def by_label(label: str) -> str:
    """The link to whatever carries this label."""
    return f"/dev/disk/by-label/{label}"


def _found_by(entry: Entry, name: str, source: bytes) -> list[_Edit]:
    device = entry.attributes.get("device")
    if device is None:
        raise HardwareError(f'has no device in fileSystems."{entry.mount_point}"')
    edits = [_changed(device, device.child_by_field_name("expression"), nixlang.string(name))]
    if "options" not in entry.attributes or "loop" not in _options(entry):
        return edits
    kept = [option for option in _options(entry) if option != "loop"]
    options = entry.attributes["options"]
    if kept:
        value = options.child_by_field_name("expression")
        return [*edits, _changed(options, value, nixlang.strings(kept))]
    return [*edits, _without(options, source)]


def _changed(binding: Node, value: Node | None, new: str) -> _Edit:
    whole = binding.child_by_field_name("expression")
    if value is None or whole is None:
        raise HardwareError(f"has a binding without a value (line {tree.line_of(binding)})")
    text = tree.text_of(whole)
    offset = value.start_byte - whole.start_byte
    rest = text.encode()[offset + value.end_byte - value.start_byte :].decode()
    made = text.encode()[:offset].decode() + new + rest
    path = _path(binding)
    return _Edit(value.start_byte, value.end_byte, new.encode(), ((*path, text),), ((*path, made),))


def _without(binding: Node, source: bytes) -> _Edit:
    """The edit that takes a binding away, and with it the lines that hold nothing else."""
    gone = tuple(tree.content(binding).elements())
    above = _path(binding)[:-1]
    start, end = binding.start_byte, binding.end_byte
    line = source.rfind(b"\n", 0, start) + 1
    next_line = source.find(b"\n", end) + 1 or len(source)
    alone_before = not source[line:start].strip(_BLANK)
    alone_after = not source[end:next_line].strip()
    if alone_before and alone_after:
        start, end = line, next_line
        # The blank line that the generator puts after it.
        blank = source[end : source.find(b"\n", end) + 1]
        end += len(blank) if blank and not blank.strip() else 0
    elif alone_before:
        end += len(source[end:]) - len(source[end:].lstrip(_BLANK))
    else:
        start -= len(source[:start]) - len(source[:start].rstrip(_BLANK))
    return _Edit(start, end, gone=tuple((*above, *names) for names in gone))


def _path(binding: Node) -> tuple[str, ...]:
    """The names of a binding, as they are written, from the outermost one around it."""
    names: list[str] = []
    node: Node | None = binding
    while node is not None:
        if node.type == "binding":
            names.insert(0, tree.text_of(node.child_by_field_name("attrpath")))
        node = node.parent
    return tuple(names)


def _options(entry: Entry) -> list[str]:
    binding = entry.attributes.get("options")
    if binding is None:
        return []
    options = tree.strings(entry.value("options"))
    if options is None:
        line = tree.line_of(binding)
        raise HardwareError(
            f'computes the options of fileSystems."{entry.mount_point}" (line {line})',
            'write them as a list of strings, [ "…" ]',
        )
    return options


def _line_end(source: bytes, position: int) -> bytes:
    """How the line before a place ends: as on the system that the file was written on."""
    end = source.rfind(b"\n", 0, position)
    return b"\r\n" if end > 0 and source[end - 1 : end] == b"\r" else b"\n"
