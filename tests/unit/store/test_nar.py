"""The hash of a tree is Nix's, and hostile trees are refused."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paranoid_install.store import nar
from paranoid_install.store.errors import StoreError

Tree = bytes | str | dict[str, "Tree"]


def string(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value + bytes(-len(value) % 8)


def serialise(tree: Tree, *, executable: bool = False) -> bytes:
    """The NAR, written straight from the grammar in the Nix manual."""
    match tree:
        case bytes():
            program = string(b"executable") + string(b"") if executable else b""
            body = string(b"regular") + program + string(b"contents") + string(tree)
        case str():
            body = string(b"symlink") + string(b"target") + string(tree.encode())
        case dict():
            body = string(b"directory")
            for name in sorted(tree, key=str.encode):
                node = string(b"node") + serialise(tree[name])
                body += string(b"entry") + string(b"(") + string(b"name") + string(name.encode())
                body += node + string(b")")
    return string(b"(") + string(b"type") + body + string(b")")


def write(tree: Tree, path: Path) -> None:
    match tree:
        case bytes():
            path.write_bytes(tree)
        case str():
            path.symlink_to(tree)
        case dict():
            path.mkdir()
            for name, node in tree.items():
                write(node, path / name)


def expected(tree: Tree) -> nar.Digest:
    archive = string(b"nix-archive-1") + serialise(tree)
    return nar.Digest(hashlib.sha256(archive).hexdigest(), len(archive))


serial = itertools.count()
names = st.text("abcZ0.-_é", min_size=1, max_size=12).filter(lambda n: n not in {".", ".."})
trees = st.recursive(
    st.binary(max_size=40) | st.text("ab/.", min_size=1, max_size=9),
    lambda inner: st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(tree=trees)
def test_it_hashes_what_the_grammar_says(
    tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"nar-{next(serial)}"
    write(tree, path)
    assert nar.digest(str(path)) == expected(tree)


@pytest.mark.parametrize(
    "size", [0, 1, 8, nar.BUFFER // 4 - 1, nar.BUFFER // 4, nar.BUFFER, nar.BUFFER * 3 + 5]
)
def test_files_around_the_size_of_the_buffer(tmp_path: Path, size: int) -> None:
    contents = bytes(range(251)) * (size // 251 + 1)
    tree: Tree = {"before": b"x", "file": contents[:size], "same": b"y" * 7}
    write(tree, tmp_path / "t")
    assert nar.digest(str(tmp_path / "t")) == expected(tree)


def test_the_hash_nix_hash_prints(tmp_path: Path) -> None:
    """From `nix-hash --type sha256` of Nix 2.8 on the same tree."""
    write(
        {"bin": {"hello": b"#!/bin/sh\necho hello\n", "hi": "hello"}, "empty": {}}, tmp_path / "t"
    )
    (tmp_path / "t/bin/hello").chmod(0o555)
    assert nar.digest(str(tmp_path / "t")).sha256 == (
        "96c355705323962184a4294dba5ed5fabf154def3675d1a65f39b606a98d352f"
    )


def test_only_the_owners_execute_bit_counts(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "f").chmod(0o654)
    plain = nar.digest(str(tmp_path / "f"))
    (tmp_path / "f").chmod(0o711)
    archive = string(b"nix-archive-1") + serialise(b"x", executable=True)
    assert plain == expected(b"x")
    assert nar.digest(str(tmp_path / "f")).sha256 == hashlib.sha256(archive).hexdigest()


def test_a_symlink_at_the_top_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert nar.digest(str(tmp_path / "link")) == expected("/etc/passwd")


def test_a_pipe_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    os.mkfifo(tmp_path / "t/pipe")
    with pytest.raises(StoreError, match=r"t/pipe: neither a file"):
        nar.digest(str(tmp_path / "t"))


def test_a_depth_beyond_the_interpreters_stack(tmp_path: Path) -> None:
    top = path = f"{tmp_path}/d"
    levels = 1
    while len(path) < 3900:
        Path(path).mkdir()
        path += "/d"
        levels += 1
    Path(path).mkdir()
    assert levels > 1000
    archive = hashlib.sha256(string(b"nix-archive-1") + deep(levels - 1)).hexdigest()
    assert nar.digest(top).sha256 == archive
    while path != str(tmp_path):
        Path(path).rmdir()
        path = path.removesuffix("/d") if path != top else str(tmp_path)


def deep(levels: int) -> bytes:
    head = string(b"(") + string(b"type") + string(b"directory")
    entry = string(b"entry") + string(b"(") + string(b"name") + string(b"d") + string(b"node")
    return (head + entry) * levels + head + string(b")") + string(b")") * 2 * levels


def test_a_file_that_changes_under_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"12345")

    class Appends:
        """A mirror that lets the file grow between its size and its contents."""

        def directory(self, path: bytes) -> None: ...
        def written(self, target: int, status: os.stat_result) -> None: ...
        def symlink(self, path: bytes, status: os.stat_result, target: bytes) -> None: ...
        def leave(self, path: bytes, status: os.stat_result) -> None: ...
        def file(self, path: bytes, status: os.stat_result, source: int) -> int | None:
            with open(path, "ab") as file:  # noqa: PTH123
                file.write(b"6")
            return None

    with pytest.raises(StoreError, match="changed while it was read: 6 bytes instead of 5"):
        nar.digest(str(path), Appends())


def test_who_may_not_leave_the_time_of_access_alone_reads_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open(2) allows O_NOATIME to the owner and root only."""
    file = tmp_path / "f"
    file.write_bytes(b"x")
    expected = nar.digest(str(file))
    real = os.open

    def refusing(path: bytes, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_NOATIME:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    assert nar.digest(str(file)) == expected


def test_reading_leaves_the_time_of_access_alone(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")
    os.utime(file, (1, 1))
    nar.digest(str(file))
    assert file.stat().st_atime == 1
