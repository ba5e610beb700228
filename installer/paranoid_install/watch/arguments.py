"""What an interpreter, the dynamic loader or a multi-call program was told to run.

Works on the arguments alone. What a shell reads from its standard input, by `.`, or from an
option that holds code cannot be seen here, nor anywhere in the audit trail.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from paranoid_install.watch.records import Undecodable
from paranoid_install.watch.rules import Grammar, Rules

# python3.11, perl5.38.2, gawk-5.2, bash-interactive stays itself.
_VERSION = re.compile(r"[-.]?[0-9][0-9.]*$")


@dataclass(frozen=True)
class Told:
    """`scripts` are the files named, in order. `certain` is False when an argument was missing
    (cut off or undecodable) before the answer was known."""

    scripts: tuple[bytes, ...] = ()
    certain: bool = True


def basename(exe: bytes) -> str:
    """The program's own name: without directory, Nix wrapping (`.x-wrapped`) and version."""
    name = exe.rpartition(b"/")[2].decode("ascii", errors="replace")
    while name.startswith(".") and name.rstrip("_").endswith("-wrapped"):
        name = name[1:].rstrip("_").removesuffix("-wrapped")
    return name


def grammar(rules: Rules, name: str) -> Grammar | None:
    """How the program called `name` reads its arguments, or None when it runs no files."""
    found = rules.interpreters.get(name)
    if found is None:
        found = rules.interpreters.get(_VERSION.sub("", name))
    if found is None and is_loader(rules, name):
        return rules.loader
    return found


def is_loader(rules: Rules, name: str) -> bool:
    """Whether `name` is the dynamic loader: ld-linux-x86-64.so.2, ld-2.31.so, ld-musl-…"""
    return name in rules.loaders or (name.startswith("ld-") and ".so" in name)


def speaks(rules: Rules, exe: bytes) -> bool:
    """Whether the arguments of `exe` decide what is run."""
    return _speaks(rules, basename(exe))


@functools.lru_cache(maxsize=4096)
def _speaks(rules: Rules, name: str) -> bool:
    return name in rules.multicall or grammar(rules, name) is not None


def told(rules: Rules, exe: bytes, argv: Sequence[bytes | None], whole: bool) -> Told:
    """The files that `exe` runs when started with `argv`; `whole`: no argument is missing."""
    name = basename(exe)
    words = list(argv)
    if name in rules.multicall:
        if not words:
            return Told(certain=whole)
        applet = basename(words[0] or b"")
        if applet in rules.multicall or grammar(rules, applet) is None:
            words = words[1:]
            applet = basename(words[0] or b"") if words else ""
        name = applet
    found = grammar(rules, name)
    if found is None:
        return Told()
    return _read(rules, found, words[1:], whole and bool(words))


def _read(rules: Rules, grammar: Grammar, words: list[bytes | None], whole: bool) -> Told:
    reader = _Reader(grammar, words)
    try:
        reader.read()
    except IndexError:
        # The arguments are over: nothing more is run, unless some were lost.
        return Told(tuple(reader.scripts), certain=whole)
    except Undecodable:
        return Told(tuple(reader.scripts), certain=False)
    # A module that runs a script of its own: python -m pdb FILE.
    module = rules.interpreters.get(f"-m {reader.module}")
    if module is None:
        return Told(tuple(reader.scripts))
    rest = _read(rules, module, reader.rest, whole)
    return Told((*reader.scripts, *rest.scripts), rest.certain)


class _Reader:
    """Goes through the arguments until it is known what is run. Raises IndexError at their end."""

    def __init__(self, grammar: Grammar, words: list[bytes | None]) -> None:
        self._grammar = grammar
        self._words = words
        self._position = 0
        self._program = grammar.first == "code"
        self.scripts: list[bytes] = []
        self.module = ""

    @property
    def rest(self) -> list[bytes | None]:
        """The arguments that are not read."""
        return self._words[self._position :]

    def read(self) -> None:
        """Fills `scripts`; returns at the script itself, or where code was given in its place."""
        while True:
            word = self._take()
            if word == b"--":
                if self._grammar.first != "data":
                    self._operand(self._take())
                return
            option = word.decode("latin-1")
            if len(word) < 2 or word[:1] not in (b"-", b"+"):
                if option in self._grammar.commands or self._grammar.first == "data":
                    continue
                self._operand(word)
                return
            name, equals, value = option.partition("=")
            if name in self._grammar.long_code:
                return
            if name in self._grammar.long_script:
                self._script(self._value(equals, value))
            elif name in self._grammar.long_last:
                self._script(self._value(equals, value))
                return
            elif name in self._grammar.long_list:
                self.scripts += self._value(equals, value).split(b":")
            elif name in self._grammar.long:
                if not equals:
                    self._take()
            elif not option.startswith("--") and self._cluster(option):
                return

    def _take(self) -> bytes:
        word = self._words[self._position]
        self._position += 1
        if word is None:
            raise Undecodable(self._position)
        return word

    def _value(self, equals: str, value: str) -> bytes:
        return value.encode("latin-1") if equals else self._take()

    def _operand(self, word: bytes) -> None:
        # "-" is the standard input; the first word of awk and sed is code.
        if word != b"-" and not self._program:
            self.scripts.append(word)

    def _script(self, word: bytes) -> None:
        self.scripts.append(word)
        self._program = False

    def _cluster(self, option: str) -> bool:
        """Read letters such as -eux. True when one of them gives the code itself."""
        grammar = self._grammar
        for index, letter in enumerate(option[1:], start=1):
            rest = option[index + 1 :]
            if letter in grammar.module and option[0] == "-":
                self.module = rest or self._take().decode("latin-1")
                return True
            if letter in grammar.code and option[0] == "-":
                return True
            if letter in grammar.attached:
                return False
            if letter in grammar.next:
                self._position += 1
            elif letter in grammar.value or letter in grammar.script:
                given = rest.encode("latin-1") if rest else self._take()
                if letter in grammar.script:
                    self._script(given)
                return False
        return False
