"""What is asked of the program itself: the C library, auditctl's own words, and bounded reading."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paranoid_install.errors import SpecError
from paranoid_install.runner import ShRunner, environment
from paranoid_install.verify import baseline, compare, files, parse
from paranoid_install.verify.check import ask
from paranoid_install.verify.facts import Machine, SshdBlock, Unknown, User
from paranoid_install.verify.gather import gather
from paranoid_install.verify.registry import BY_ID
from paranoid_install.verify.terms import Status
from paranoid_install.verify.tree import SearchCutError, Tree, limit
from tests.unit.verify.machines import audit_rules, paranoid, piece
from tests.unit.verify.test_gather import Programs, write

PACKAGE = Path(__file__).parents[3] / "installer"


def asked(passwd: str, shadow: str, directory: Path) -> tuple[User, ...]:
    """What this machine's C library makes of such files, in a mount namespace of its own."""
    for name, text in (("passwd", passwd), ("shadow", shadow)):
        (directory / name).write_text(text)
    (directory / "nsswitch.conf").write_text("passwd: files\nshadow: files\n")
    script = (
        f"for f in passwd shadow nsswitch.conf; do mount --bind {directory}/$f /etc/$f; done; "
        'getent "$1"'
    )
    made = [
        subprocess.run(
            ["unshare", "-rm", "sh", "-ec", script, "sh", database],
            capture_output=True, text=True, check=False, timeout=30,
        )
        for database in ("passwd", "shadow")
    ]  # fmt: skip
    if any("not permitted" in one.stderr or "denied" in one.stderr for one in made):
        pytest.skip("unshare may not make mounts here")
    assert [one.returncode for one in made] == [0, 0], made
    return parse.passwords(made[0].stdout, made[1].stdout, {})


def judged(users: tuple[User, ...], name: str) -> tuple[str, ...]:
    return ask(BY_ID[name], piece("users", users)(paranoid())).evidence


ROOT = "root:x:0:0:root:/root:/bin/sh\n"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("toor:x:0:0:::", "toor"),
        ("toor:x:0:0::", "toor"),
        ("toor:x:0:0", "toor"),
        ("to\u2028or:x:0:0:::", "to\u2028or"),
        ("to\x0bor:x:0:0:::", "to\x0bor"),
        ("toor:x:00:0:::", "toor"),
    ],
)
def test_a_second_root_is_found_in_each_form_that_the_c_library_takes(
    tmp_path: Path, line: str, name: str
) -> None:
    users = asked(f"{ROOT}{line}\n", "root:!:1::::::\n", tmp_path)
    assert judged(users, "users.root") == (f"{name} has the number 0",)


@pytest.mark.parametrize(
    ("passwd", "shadow"),
    [
        ("guest:x:1000:1000::", "guest::1::::::\n"),
        ("guest::1000:1000::", "guest:!:1::::::\n"),
        ("guest:x:1000:1000::", "guest::1::::::\nguest:!:1::::::\n"),
        ("guest:x:1000:1000::/:/bin/sh", "guest::1:::\n"),
    ],
    ids=["in shadow", "in passwd itself", "the first line counts", "few fields"],
)
def test_an_empty_password_is_found_where_the_c_library_finds_it(
    tmp_path: Path, passwd: str, shadow: str
) -> None:
    users = asked(f"{ROOT}{passwd}\n", f"root:!:1::::::\n{shadow}", tmp_path)
    assert judged(users, "users.empty-passwords") == ("guest needs no password",)


def test_a_later_line_opens_nothing(tmp_path: Path) -> None:
    users = asked(ROOT, "root:$y$1:1::::::\nroot::1::::::\n", tmp_path)
    assert users == (User("root", 0, "hash", method="y", gid=0),)


def test_an_old_hash_is_a_password() -> None:
    assert parse.passwords("a:x:1:1:::\n", "a:ab0123456789.:1::\n", {})[0].password == "hash"


def test_a_file_that_would_be_cut_is_no_answer(tmp_path: Path) -> None:
    write(tmp_path, "etc/nix/nix.conf", "#" * (8 * 1024**2) + "\nallowed-users = *\n")
    machine = gather(tmp_path, Programs())
    assert isinstance(machine.nix, Unknown)


@pytest.mark.parametrize(
    "more", ["-F uid=99999", "-F success=0", "-C uid!=euid", "-F a0=0x1", "-F exit=-EPERM"]
)
def test_a_rule_that_is_narrower_than_the_policys_is_none(more: str) -> None:
    first, *others = audit_rules()
    head, _, key = first.rpartition(" -F key=")
    machine = piece("audit_rules", (f"{head} {more} -F key={key}", *others))(paranoid())
    result = ask(BY_ID["audit.rules"], machine)
    assert result.status is Status.FAIL
    (line,) = result.evidence
    assert "but one that differs in" in line


def test_a_rule_is_read_as_auditctl_prints_it() -> None:
    printed = (
        line.replace("a0>=4", "a0>=0x4").replace("a0<=6", "a0<=0x6") for line in audit_rules()
    )
    machine = piece("audit_rules", tuple(printed))(paranoid())
    assert ask(BY_ID["audit.rules"], machine).status is Status.PASS


def bomb(root: Path) -> None:
    """Each file includes the next ten times."""
    write(root, "etc/nix/nix.conf", "include f0\n")
    for number in range(9):
        write(root, f"etc/nix/f{number}", f"include f{number + 1}\n" * 10)
    write(root, "etc/nix/f9")


def test_a_nix_conf_that_includes_without_end_ends(tmp_path: Path) -> None:
    bomb(tmp_path)
    start = time.monotonic()
    assert isinstance(gather(tmp_path, Programs()).nix, Unknown)
    assert time.monotonic() - start < 5


def test_reading_has_a_limit_of_work(tmp_path: Path) -> None:
    with pytest.raises(SearchCutError):
        files.nix_conf(Tree(tmp_path, limit(-1)))


DEEP = '{"version":1,"checks":' + "[" * 100_000 + "]" * 100_000 + "}"


def test_deep_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    file.write_text(DEEP)
    with pytest.raises(SpecError):
        compare.load(file)
    with pytest.raises(SpecError):
        baseline.load(file, BY_ID)


def test_deep_answers_of_programs_are_unknown() -> None:
    machine = gather(Path("/"), Programs({"nft": DEEP, "tailscale": DEEP}))
    assert isinstance(machine.ruleset, Unknown)
    assert isinstance(machine.tailscale, Unknown)


def test_a_signal_ends_verify_whatever_it_works_at(tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(PACKAGE)!r})\n"
        "from paranoid_install.verify import files\n"
        "def forever(_tree):\n"
        "    sys.stderr.write('busy\\n'); sys.stderr.flush()\n"
        "    while True: pass\n"
        "files.FROM_TREE['nix'] = forever\n"
        "from paranoid_install import cli\n"
        f"sys.argv = ['paranoid-install', 'verify', '--root', {str(tmp_path)!r}]\n"
        "sys.exit(cli.main())\n"
    )
    with subprocess.Popen([sys.executable, str(slow)], stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == b"busy\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 143
        finally:
            process.kill()


def test_a_signal_ends_it_where_python_passes_over_exceptions(tmp_path: Path) -> None:
    """As in the callbacks by which an import gives its lock back: one in twenty was lost so."""
    script = tmp_path / "lost.py"
    script.write_text(
        "import sys, weakref\n"
        f"sys.path.insert(0, {str(PACKAGE)!r})\n"
        "from paranoid_install.verify import command\n"
        "class Thing: pass\n"
        "def busy(_reference):\n"
        "    sys.stderr.write('busy\\n'); sys.stderr.flush()\n"
        "    while True: pass\n"
        "real = command.gather\n"
        "def gather(*given):\n"
        "    thing = Thing(); reference = weakref.ref(thing, busy)\n"
        "    del thing\n"
        "    return real(*given)\n"
        "command.gather = gather\n"
        "from paranoid_install import cli\n"
        f"sys.argv = ['paranoid-install', 'verify', '--root', {str(tmp_path)!r}]\n"
        "sys.exit(cli.main())\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == b"busy\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 143
            assert process.stderr.read() == b"stopped by SIGTERM\n"
        finally:
            process.kill()


def program(directory: Path, name: str, says: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\necho {says}\n")
    (directory / name).chmod(0o755)


def test_the_systems_own_programs_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "uname", "false")
    program(tmp_path, "only-here", "true")
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert ShRunner(cautious=True).run("uname").stdout != "false\n"
    assert ShRunner().run("uname").stdout == "false\n"
    assert ShRunner(cautious=True).run("only-here").stdout == "true\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize(("owner", "mode"), [(1000, 0o755), (0, 0o777), (0, 0o775), (0, 0o1777)])
def test_programs_that_others_can_exchange_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int
) -> None:
    inner = tmp_path / "inner"
    program(inner, "only-here", "owned")
    (tmp_path if mode != 0o1777 else inner).chmod(mode)
    os.chown(tmp_path, owner, 0)
    monkeypatch.setenv("PATH", f"{inner}:/usr/bin:/bin")
    assert str(inner) in environment()["PATH"]
    assert str(inner) not in environment(cautious=True)["PATH"]


def test_a_block_that_is_worse_fails_and_one_that_is_not_known_of_is_no_pass() -> None:
    machine = paranoid()
    assert isinstance(machine.sshd, dict)
    block = SshdBlock("User x", {**machine.sshd, "permitrootlogin": ("yes",)})
    result = ask(BY_ID["ssh.root"], piece("sshd_blocks", (block,))(machine))
    assert result.evidence == ("PermitRootLogin yes (Match User x)",)
    worse = piece("sshd", {**machine.sshd, "permitrootlogin": ("yes",)})(machine)
    unseen = piece("sshd_blocks", Unknown("?"))(worse)
    assert ask(BY_ID["ssh.root"], unseen).status is Status.FAIL
    assert ask(BY_ID["ssh.root"], Machine()).status is Status.UNKNOWN


def test_getent_is_on_this_machine() -> None:
    assert shutil.which("getent", path=environment(cautious=True)["PATH"])
