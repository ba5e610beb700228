"""What the interpreters of the table run by their arguments, and what they only read."""

from __future__ import annotations

import shlex

import pytest

from paranoid_install.watch.arguments import told
from tests.unit.watch.trail import STORE, rules


def run_by(command: str) -> list[str]:
    words = [word.encode() for word in shlex.split(command)]
    answer = told(rules(), f"{STORE}-x/bin/".encode() + words[0], words, whole=True)
    assert answer.certain
    return [script.decode() for script in answer.scripts]


@pytest.mark.parametrize(
    ("command", "scripts"),
    [
        ("python3.13 -m pdb /srv/x.py", ["/srv/x.py"]),
        ("python3 -u -mcProfile -s time /srv/x.py a", ["/srv/x.py"]),
        ("python3 -m pdb -c continue /srv/x.py", ["/srv/x.py"]),
        ("python3 -m http.server /srv", []),
        ("python3 -c pass /srv/x.py", []),
        ("perl -I/srv/lib -e 1", ["/srv/lib"]),
        ("perl -Mlib=/srv/lib /srv/x.pl", ["/srv/lib", "/srv/x.pl"]),
        ("perl -MData::Dumper x.pl", ["x.pl"]),
        ("ruby -I /srv/lib x.rb", ["/srv/lib", "x.rb"]),
        ("java -cp /srv/a.jar:/srv/b.jar Main", ["/srv/a.jar", "/srv/b.jar"]),
        ("java -Xmx1g -jar /srv/a.jar -cp b", ["/srv/a.jar"]),
        ("dotnet exec /srv/a.dll", ["/srv/a.dll"]),
        ("mono /srv/a.exe", ["/srv/a.exe"]),
        ("deno run /srv/a.ts", ["/srv/a.ts"]),
        ("wine /srv/a.exe", ["/srv/a.exe"]),
        ("qemu-x86_64 -cpu max /srv/a", ["/srv/a"]),
        ("qemu-aarch64 -L /srv /srv/a /srv/b", ["/srv/a"]),
        ("gdb -q -x /srv/a.gdb ./core", ["/srv/a.gdb"]),
        ("gdb --command=/srv/a.gdb", ["/srv/a.gdb"]),
        ("gdb -ex run /srv/program", []),
        ("vim -S /srv/a.vim notes.txt", ["/srv/a.vim"]),
        ("vim notes.txt -u /srv/rc", ["/srv/rc"]),
        ("vim -c q +12 notes.txt", []),
        ("emacs --script /srv/a.el", ["/srv/a.el"]),
        ("emacs -l /srv/a.el notes", ["/srv/a.el"]),
        ("make -f /srv/Makefile all", ["/srv/Makefile"]),
        ("make -j8 -C /srv all CC=cc", []),
    ],
)
def test_what_is_run_by_arguments(command: str, scripts: list[str]) -> None:
    assert run_by(command) == scripts
