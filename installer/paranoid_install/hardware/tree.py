"""A NixOS module, parsed: the file systems that it declares, and every binding in it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paranoid_install.hardware.errors import HardwareError

if TYPE_CHECKING:
    from tree_sitter import Node

_ATTRSETS = ("attrset_expression", "rec_attrset_expression")
# What may stand around the attribute set that a module is, and changes nothing of what is in it.
_WRAPPERS = {
    "function_expression": "body",
    "with_expression": "body",
    "let_expression": "body",
    "assert_expression": "body",
    "parenthesized_expression": "expression",
}
# Functions of nixpkgs' lib that give a definition another priority.
_PRIORITIES = ("mkForce", "mkDefault", "mkImageMediaOverride", "mkVMOverride", "mkOverride")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_BY_HAND = "patch it by hand, or write it as nixos-generate-config does"


@dataclass
class Entry:
    """What a module says of one mount point, in one binding or in several.

    `attributes` are the bindings of its attributes by name; `bindings` are all that make it up.
    """

    mount_point: str
    attributes: dict[str, Node] = field(default_factory=dict)
    bindings: list[Node] = field(default_factory=list)

    def value(self, name: str) -> Node | None:
        """The expression of an attribute, a priority around it taken off."""
        binding = self.attributes.get(name)
        value = binding.child_by_field_name("expression") if binding is not None else None
        return None if value is None else without_priority(value)

    def string(self, name: str) -> str | None:
        """The value of an attribute that is a plain string; None for anything else."""
        return string(self.value(name))


def parse(source: bytes) -> Node:
    """The root of the tree. Raises HardwareError for what Nix would not parse."""
    import tree_sitter_nix  # noqa: PLC0415 - a compiled grammar, needed by one step alone
    from tree_sitter import Language, Parser  # noqa: PLC0415

    if source.startswith(b"\xef\xbb\xbf"):
        raise HardwareError("begins with a byte order mark, which Nix does not read", "remove it")
    root = Parser(Language(tree_sitter_nix.language())).parse(source).root_node
    if root.has_error:
        raise HardwareError(f"does not parse (line {_error_line(root)})")
    return root


def entries(root: Node) -> list[Entry]:
    """The file systems that the module declares, in order.

    Raises HardwareError where that cannot be told: a name or a set that is computed, or an
    attribute that is said twice, which Nix refuses.
    """
    found: dict[str, Entry] = {}
    for names, binding in _file_systems(_body(root), ()):
        entry = found.setdefault(names[1], Entry(names[1]))
        entry.bindings.append(binding)
        value = binding.child_by_field_name("expression")
        inner = None if value is None else without_priority(value)
        if len(names) > 2:
            _add(entry, names[2], binding)
        elif inner is not None and inner.type in _ATTRSETS:
            for attribute in bindings_of(inner):
                _add(entry, names_of(attribute)[0] or "", attribute)
    return list(found.values())


def content(root: Node) -> Counter[tuple[str, ...]]:
    """Every binding of the file that holds no bindings itself: its names and its expression."""
    found: Counter[tuple[str, ...]] = Counter()

    def walk(node: Node, path: tuple[str, ...]) -> None:
        if node.type == "binding":
            path = (*path, text_of(node.child_by_field_name("attrpath")))
            value = node.child_by_field_name("expression")
            if value is not None and not any(True for _ in _bindings_below(value)):
                found[(*path, text_of(value))] += 1
        elif node.type == "inherit":
            found[(*path, text_of(node))] += 1
        for child in node.named_children:
            walk(child, path)

    walk(root, ())
    return found


def bindings_of(attrset: Node) -> list[Node]:
    """The bindings that stand in an attribute set itself."""
    sets = [child for child in attrset.named_children if child.type == "binding_set"]
    return [b for s in sets for b in s.named_children if b.type == "binding"]


def names_of(binding: Node) -> list[str | None]:
    """The names of a binding's path; None for one that is computed."""
    path = binding.child_by_field_name("attrpath")
    named = [] if path is None else path.named_children
    return [text_of(name) if name.type == "identifier" else string(name) for name in named]


def without_priority(node: Node) -> Node:
    """The expression in `lib.mkForce (…)` and the like; the node itself where there is none."""
    while True:
        inner = None
        if node.type == "parenthesized_expression":
            inner = node.child_by_field_name("expression")
        elif node.type == "apply_expression":
            function = text_of(node.child_by_field_name("function")).removeprefix("lib.")
            if function.split()[0] in _PRIORITIES:
                inner = node.child_by_field_name("argument")
        if inner is None:
            return node
        node = inner


def string(node: Node | None) -> str | None:
    """The value of a string without interpolation; None for anything else."""
    if node is None or node.type not in ("string_expression", "indented_string_expression"):
        return None
    parts = node.named_children
    if node.type == "indented_string_expression":
        # Escapes and the stripping of indentation are rules of their own.
        plain = len(parts) == 1 and parts[0].type == "string_fragment"
        value = text_of(parts[0]) if plain else None
        return value if value is None or "\n" not in value else None
    if any(part.type not in ("string_fragment", "escape_sequence") for part in parts):
        return None
    return "".join(
        _ESCAPES.get(text_of(part)[1:], text_of(part)[1:])
        if part.type == "escape_sequence"
        else text_of(part)
        for part in parts
    )


def strings(node: Node | None) -> list[str] | None:
    """The values of a list of plain strings; None for anything else."""
    if node is None or node.type != "list_expression":
        return None
    found = [string(child) for child in node.named_children if child.type != "comment"]
    plain = [value for value in found if value is not None]
    return plain if len(plain) == len(found) else None


def text_of(node: Node | None) -> str:
    """What stands in the file for a node."""
    return node.text.decode() if node is not None and node.text is not None else ""


def line_of(node: Node) -> int:
    """The number of a node's first line."""
    return node.start_point[0] + 1


def _body(root: Node) -> Node:
    """The attribute set that the module is, or that its function gives back."""
    node = next((child for child in root.named_children if child.type != "comment"), None)
    while node is not None and node.type in _WRAPPERS:
        node = node.child_by_field_name(_WRAPPERS[node.type])
    if node is None:
        raise HardwareError("holds no expression")
    if node.type not in _ATTRSETS:
        problem = f"computes its options (line {line_of(node)}) in place of listing them"
        raise HardwareError(problem, _BY_HAND)
    return node


def _file_systems(attrset: Node, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    """The bindings that are, or are part of, a mount point; each with its names from the top."""
    for binding in bindings_of(attrset):
        computed = (*prefix, *names_of(binding))
        known = computed[1:] if computed[:1] == ("config",) else computed
        if known[:1] not in ((), ("fileSystems",)):
            continue
        if None in known[:2]:
            problem = f"has a mount point that is not a plain string (line {line_of(binding)})"
            raise HardwareError(problem, _BY_HAND)
        names = tuple(name or "" for name in known)
        if len(names) > 1:
            yield names, binding
            continue
        value = binding.child_by_field_name("expression")
        if value is None or value.type not in _ATTRSETS:
            what = names[0] if names else "config"
            problem = f"computes {what} (line {line_of(binding)}) in place of listing it"
            raise HardwareError(problem, _BY_HAND)
        yield from _file_systems(value, names or ("config",))


def _add(entry: Entry, name: str, binding: Node) -> None:
    if name in entry.attributes:
        first, second = line_of(entry.attributes[name]), line_of(binding)
        where = f'fileSystems."{entry.mount_point}".{name}'
        problem = f"says {where} twice (lines {first} and {second}), which Nix refuses"
        raise HardwareError(problem, "remove one of them")
    entry.attributes[name] = binding


def _bindings_below(node: Node) -> Iterator[Node]:
    for child in (node, *node.named_children):
        if child.type in ("binding", "inherit"):
            yield child
        elif child is not node:
            yield from _bindings_below(child)


def _error_line(node: Node) -> int:
    while node.has_error and not node.is_error and not node.is_missing:
        node = next((child for child in node.children if child.has_error or child.is_missing), node)
        if not node.children:
            break
    return line_of(node)
