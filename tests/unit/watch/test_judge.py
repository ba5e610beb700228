"""What is reported as executed from outside the store, and what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paranoid_install import policy
from paranoid_install.errors import SpecError
from paranoid_install.watch.events import Counts
from paranoid_install.watch.executions import PathItem
from paranoid_install.watch.judge import Judge
from paranoid_install.watch.rules import Allow, read
from paranoid_install.watch.scan import Scanner
from paranoid_install.watch.verdicts import Reason
from tests.unit.watch.trail import (
    BASH,
    DATA,
    DEVICE,
    HELLO,
    LOADER,
    PYTHON,
    STORE,
    Exec,
    accepted,
    reasons,
    rules,
    scan,
)

SRV = "fe:03"
SCRIPT = ("/srv/foo.sh", SRV)


def shell(*argv: str, **more: Any) -> Exec:
    return Exec(exe=BASH, argv=("bash", *argv), cwd="/srv", **more)


@pytest.mark.parametrize(
    "one",
    [
        Exec(),
        Exec(names=(("/run/current-system/sw/bin/hello", DEVICE), (LOADER, DEVICE))),
        Exec(exe=BASH, argv=("sh", "-c", "true"), names=(("/bin/sh", DEVICE),)),
        Exec(exe=f"{STORE}-gcc/libexec/cc1", names=((f"{STORE}-gcc/bin/../libexec/cc1", DEVICE),)),
        Exec(cwd=f"{STORE}-hello-2.12", names=(("bin/hello", DEVICE),)),
        # A service started by systemd through a descriptor.
        Exec(syscall=322, names=(("", DEVICE), ("/dev/fd/3", ""))),
        Exec(names=(("/proc/self/fd/9", DEVICE), ("/proc/self/fd/9", "00:14"))),
        shell(f"{STORE}-x/script.sh"),
        shell("-c", "rm -rf /srv"),
        shell("-eo", "pipefail", f"{STORE}-x/script.sh"),
        shell(),
        Exec(exe=PYTHON, argv=("python3", "-m", "http.server")),
        Exec(exe=LOADER, argv=("ld.so", HELLO), names=((LOADER, DEVICE),)),
        # A search along PATH that found nothing here.
        Exec(exe=BASH, success="no", exit=-2, argv=(), names=(("/srv/x", ""),)),
        Exec(arch="40000003", syscall=11),
    ],
)
def test_inside_the_store(one: Exec) -> None:
    assert reasons(one) == []


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Exec(exe="/srv/evil", names=(("/srv/evil", SRV),)), {"outside-store"}),
        (Exec(exe="/srv/evil", names=(("./evil", SRV),), cwd="/srv"), {"outside-store"}),
        (Exec(exe="/nix/storefront/x", names=(("/nix/storefront/x", SRV),)), {"outside-store"}),
        (Exec(exe="/srv/evil", arch="40000003", syscall=358), {"outside-store"}),
        (Exec(exe=BASH, argv=("bash", "./foo.sh"), names=(("./foo.sh", SRV),), cwd="/srv"),
         {"script", "interpreted"}),
        (Exec(exe=HELLO, argv=("awkward", "/srv/foo"), names=(SCRIPT,)), {"script"}),
        (shell("./foo.sh"), {"interpreted"}),
        (shell("-x", "-o", "posix", "/srv/foo.sh", "a"), {"interpreted"}),
        (shell("--", "-x"), {"interpreted"}),
        (shell("--rcfile", "/srv/rc"), {"interpreted"}),
        (shell(f"{STORE}/../../srv/foo.sh"), {"interpreted"}),
        (Exec(exe=PYTHON, argv=("python3", "-W", "error", "-u", "x.py")), {"interpreted"}),
        (Exec(exe=f"{STORE}-perl/bin/.perl5.40.0-wrapped", argv=("perl", "-w", "x.pl")),
         {"interpreted"}),
        (Exec(exe=f"{STORE}-bb/bin/busybox", argv=("busybox", "sh", "x.sh")), {"interpreted"}),
        (Exec(exe=f"{STORE}-bb/bin/busybox", argv=("sh", "x.sh")), {"interpreted"}),
        (Exec(exe=f"{STORE}-gawk/bin/gawk-5.3", argv=("awk", "-f", "/srv/x.awk")),
         {"interpreted"}),
        (Exec(exe=f"{STORE}-jdk/bin/java", argv=("java", "-jar", "/srv/x.jar")), {"interpreted"}),
        (Exec(exe=LOADER, argv=("ld.so", "/srv/evil"), names=((LOADER, DEVICE),)), {"loaded"}),
        (Exec(exe=LOADER, argv=("x", "--preload", "/srv/e.so", HELLO), names=((LOADER, DEVICE),)),
         {"loaded"}),
        (Exec(exe="/memfd:x (deleted)", names=(("", "00:01"),), syscall=322),
         {"memfd", "descriptor"}),
        (Exec(exe="/srv/evil (deleted)", names=(("/srv/evil", SRV),)),
         {"deleted", "outside-store"}),
        (Exec(exe=BASH, argv=("bash", "/proc/self/fd/3"), names=(("/proc/self/fd/3", SRV),)),
         {"descriptor", "interpreted"}),
        (Exec(exe=HELLO, argv=("x", "/dev/fd/3"), syscall=322, names=(("", SRV),)), {"descriptor"}),
        # A directory's descriptor, with CWD in the store: the name alone would look inside.
        (Exec(exe=HELLO, argv=("x", "/dev/fd/3/f"), syscall=322, cwd=STORE + "-hello-2.12",
              names=(("f", DEVICE), ("/dev/fd/3/f", ""))), {"descriptor"}),
        # In a namespace or a chroot: the name is the store's, the file system is not.
        (Exec(names=((HELLO, "00:1a"), (LOADER, DEVICE))), {"forged-store-path"}),
        (Exec(names=((HELLO, DEVICE), (LOADER, "00:1a"))), {"forged-store-path"}),
        (Exec(names=(("", "00:1a"),), syscall=322), {"forged-store-path"}),
        (Exec(exe=BASH, success="no", exit=-13, argv=(), names=(("/srv/evil", SRV),)), {"denied"}),
        # What cannot be known is not passed over in silence.
        (Exec(names=()), {"incomplete"}),
        (Exec(names=(("bin/hello", DEVICE),), cwd="relative"), {"incomplete"}),
    ],
)  # fmt: skip
def test_outside_the_store(one: Exec, expected: set[str]) -> None:
    assert set(reasons(one)) == expected


def test_arguments_beyond_what_is_kept_do_not_hide_a_script() -> None:
    one = shell("-x", "/srv/foo.sh")
    padded = [line.replace(b"argc=3", b"argc=9000") for line in one.lines()]
    padded[1] = padded[1].replace(b' a2="/srv/foo.sh"', b"")
    verdicts, _, _ = scan(b"\n".join(padded) + b"\n")
    assert [reason.value for reason in verdicts[0].reasons] == ["incomplete"]


@pytest.mark.parametrize("missing", ["SYSCALL", "PATH", "CWD", "EXECVE", "PROCTITLE"])
def test_an_execution_outside_is_reported_whatever_record_is_lost(missing: str) -> None:
    one = Exec(exe="/srv/evil", argv=("evil",), names=(("./evil", SRV),), cwd="/srv")
    lines = [line for line in one.lines() if f"type={missing}".encode() not in line]
    _, _, tally = scan(b"\n".join(lines) + b"\n")
    assert tally.reported == 1


@pytest.mark.parametrize(
    ("one", "rule"),
    [
        (Exec(exe="/run/wrappers/wrappers.Ab1/su", mode="0104511",
              names=(("/run/wrappers/bin/su", "00:17"), (LOADER, DEVICE))), "wrappers"),
        (Exec(exe="/build/conftest", uid=30001), "builds"),
        (Exec(exe="/nix/var/nix/builds/nix-1/conftest", uid=872415300), "builds"),
    ],
)  # fmt: skip
def test_what_nixos_itself_does_is_accepted(one: Exec, rule: str) -> None:
    assert accepted(one) == rule


WRAPPED = Exec(exe="/run/wrappers/wrappers.Ab1/su", names=(("/run/wrappers/bin/su", "00:17"),))


@pytest.mark.parametrize(
    "one",
    [
        replace(WRAPPED, owner=1000),
        replace(WRAPPED, mode="0100777"),
        replace(WRAPPED, exe="/run/wrappers/../../srv/su"),
        replace(WRAPPED, names=(("/srv/su", "00:17"),)),
        Exec(exe="/build/conftest", uid=1000),
        Exec(exe="/srv/conftest", uid=30001),
        Exec(exe="/build/../srv/x", uid=30001),
        Exec(exe="/bin/busybox", auid=4294967295),
    ],
)
def test_what_only_looks_like_it_is_not(one: Exec) -> None:
    assert reasons(one) != []


def test_the_initrd_ends_when_process_1_starts_the_system() -> None:
    boot = b"type=KERNEL msg=audit(1764000000.000:1): state=initialized audit_enabled=1 res=1\n"
    early = Exec(exe="/bin/busybox", names=(("/bin/busybox", "00:02"),), auid=4294967295)
    system = f"{STORE}-nixos-system-meeka/init"
    handover = Exec(exe=BASH, argv=("bash", system), names=((system, DEVICE),), pid=1, serial=200)
    late = replace(early, serial=300)
    judge = Judge(rules())
    scanner = Scanner(
        judge, Counts(), notice=lambda record: judge.booted(b"", record.id.milliseconds)
    )
    data = boot + early.text() + handover.text() + late.text()
    verdicts = [*scanner.feed(data), *scanner.finish()]
    assert [(v.execution.id.serial, v.accepted) for v in verdicts] == [(100, "initrd"), (300, None)]


def judged(one: Exec, *allow: Allow) -> object:
    judge = Judge(replace(rules(), allow=allow), DEVICE.encode())
    scanner = Scanner(judge, Counts())
    (verdict,) = [*scanner.feed(one.text()), *scanner.finish()]
    return verdict.accepted


def test_an_exception_by_path_covers_every_file_that_is_reported() -> None:
    allow = Allow(path=b"/opt/agent/")
    inside = Exec(exe="/opt/agent/bin/x", names=(("/opt/agent/bin/x", SRV),))
    assert judged(inside, allow) == allow
    assert judged(replace(inside, names=(("/srv/x", SRV),)), allow) is None
    assert judged(replace(inside, exe="/opt/agent/../../srv/x"), allow) is None
    assert judged(replace(inside, exe="/opt/agent/x (deleted)"), allow) is None
    assert judged(replace(inside, exe="/opt/agents"), Allow(path=b"/opt/agent")) is None


def test_the_store_s_device_is_learned_from_the_first_program_in_it() -> None:
    forged = Exec(names=((HELLO, "00:1a"),), serial=101)
    verdicts, _, _ = scan(Exec().text() + forged.text(), device=None)
    assert [v.reasons[0].value for v in verdicts] == ["forged-store-path"]


def test_a_file_mounted_over_a_store_path_is_betrayed_by_its_inode() -> None:
    def proof(path: PathItem) -> bool:
        return path.inode == b"4711"

    judge = Judge(rules(), DEVICE.encode(), proof)
    scanner = Scanner(judge, Counts())
    verdicts = [*scanner.feed(Exec().text()), *scanner.finish()]
    assert [reason.value for reason in verdicts[0].reasons] == ["forged-store-path"]


def proving(exe: str, inode: bytes, run: Exec) -> list[str]:
    """The reasons of a run on a machine on which `inode` is the one of `exe`."""

    def proof(path: PathItem) -> bool:
        return path.name != exe.encode() or path.inode == inode

    scanner = Scanner(Judge(rules(), DEVICE.encode(), proof), Counts())
    # The second one takes the shortcut, if the first one was plain.
    again = replace(run, serial=run.serial + 1)
    verdicts = [*scanner.feed(run.text() + again.text()), *scanner.finish()]
    assert len(verdicts) in (0, 2)
    return [reason.value for verdict in verdicts[:1] for reason in verdict.reasons]


@pytest.mark.parametrize("name", ["/home/alice/.nix-profile/bin/hello", "./hello"])
def test_a_link_to_a_program_of_the_store_is_known_by_the_inode_that_was_started(name: str) -> None:
    run = Exec(names=((name, DEVICE), (LOADER, DEVICE)))
    inode = b"%d" % (len(name) + 7)
    assert proving(HELLO, inode, run) == []
    # The kernel notes the link itself as well, on the device where it lies.
    noted = replace(run, names=((name, DEVICE), (name, "00:17"), (LOADER, DEVICE)))
    assert proving(HELLO, inode, noted) == []
    assert "script" in proving(HELLO, b"4711", noted)
    assert proving(HELLO, b"4711", run) == ["script"]
    elsewhere = replace(run, names=((name, "00:1a"), (LOADER, DEVICE)))
    assert proving(HELLO, inode, elsewhere) == ["script"]


def test_a_link_to_a_script_of_the_store_stays_doubtful() -> None:
    """Its interpreter opens the link once more, when it may lead elsewhere."""
    name = "/home/alice/.nix-profile/bin/script"
    run = Exec(exe=BASH, argv=(BASH, name), names=((name, DEVICE), (BASH, DEVICE)))
    assert "script" in proving(BASH, b"4711", run)


def test_the_parent_is_named_by_what_it_last_started() -> None:
    parent = Exec(exe=BASH, argv=("bash",), pid=600, serial=1)
    verdicts, _, _ = scan(parent.text() + Exec(exe="/srv/evil").text())
    assert verdicts[0].parent == BASH.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"allow": [{"path": "/opt/x"}]},
        {"allow": [{"why": "x"}]},
        {"allow": [{"path": "opt", "why": "x"}]},
        {"allow": [{"path": "/opt", "why": "x", "user": "root"}]},
        {"alow": []},
    ],
)
def test_a_misspelt_exception_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        read(policy.load("watch") | change)


REAL = {
    28: {"outside-store"},
    29: {"outside-store"},
    30: {"script", "interpreted"},
    31: {"interpreted"},
    32: {"interpreted"},
    35: {"loaded"},
    38: {"memfd", "descriptor"},
    40: {"outside-store", "descriptor"},
    44: {"descriptor", "interpreted"},
    48: {"outside-store", "descriptor"},
    50: {"outside-store", "descriptor"},
    52: {"deleted", "descriptor"},
    60: {"outside-store"},
    62: {"outside-store"},
    65: {"outside-store"},
    67: {"outside-store"},
    68: {"outside-store"},
    69: {"script"},
    70: {"outside-store"},
    72: {"forged-store-path"},
    76: {"forged-store-path"},
    77: {"denied"},
}
"""By serial, the scenarios of data/README.md; 26, 27, 33, 34, 42, 46, 54, 56 and 58 are inside."""


@pytest.mark.parametrize("name", ["raw.log", "journal.json"])
def test_real_records_of_a_virtual_machine(name: str) -> None:
    data = (DATA / name).read_bytes()
    verdicts, counts, tally = scan(data, device="00:19")
    found = {v.execution.id.serial: {r.value for r in v.reasons} for v in verdicts}
    assert {serial: found.get(serial) for serial in REAL} == REAL
    assert not found.keys() & {26, 27, 33, 34, 42, 46, 54, 56, 58, 78, 79}
    # The journal's stream begins with the boot, and process 1 never hands over: "initrd" as well.
    rules_of_nixos = {v.execution.id.serial: v.accepted for v in verdicts if v.accepted}
    assert (rules_of_nixos[67], rules_of_nixos[70]) == ("builds", "wrappers")
    assert set(rules_of_nixos.values()) <= {"builds", "wrappers", "initrd"}
    assert counts.unreadable == 0
    assert tally.inside >= 10


def test_a_real_enriched_log_with_node_gives_the_same_kinds() -> None:
    raw, _, _ = scan((DATA / "raw.log").read_bytes(), device="00:19")
    enriched, _, _ = scan((DATA / "enriched.log").read_bytes(), device="00:19")

    def kinds(verdicts: list[Any]) -> set[Any]:
        return {(v.reasons, v.paths) for v in verdicts if b"/srv/evil" in b"".join(v.paths)}

    assert kinds(raw) >= kinds(enriched) != set()
    assert {v.execution.id.node for v in enriched} == {b"meeka"}


@pytest.mark.parametrize(
    ("arch", "call"),
    [
        ("c000003e", 1073742344),
        ("40000003", 11),
        ("c00000b7", 221),
        ("c00000f3", 221),
        ("c0000102", 221),
        ("c0000015", 11),
        ("80000016", 11),
        ("c0000008", 5057),
        ("40000008", 4011),
    ],
)
def test_a_refused_start_is_known_on_every_architecture(arch: str, call: int) -> None:
    """There is no EXECVE record for it, only the number of the call."""
    one = Exec(arch=arch, syscall=call, success="no", exit=-13, names=(("/srv/evil", "fe:03"),))
    lines = [line for line in one.lines() if not line.startswith(b"type=EXECVE")]
    verdicts, _, _ = scan(b"\n".join(lines) + b"\n")
    assert [verdict.reasons for verdict in verdicts] == [(Reason.DENIED,)]


def test_each_machine_has_a_store_on_a_device_of_its_own() -> None:
    """Two nodes in one file: neither is forged, and a store path elsewhere still is."""
    data = b""
    for serial in range(6):
        for node, device in (("a", "fe:02"), ("b", "00:19")):
            names = ((HELLO, device), (LOADER, device))
            data += Exec(node=node, names=names, serial=serial).text()
    data += Exec(node="b", names=((HELLO, "fe:02"), (LOADER, "fe:02")), serial=99).text()
    for shortcut in (True, False):
        verdicts, _, tally = scan(data, device=None, shortcut=shortcut)
        assert [v.execution.id.serial for v in verdicts] == [99]
        assert Reason.FORGED in verdicts[0].reasons
        assert tally.inside == 12


def test_a_machine_that_boots_may_number_its_devices_anew() -> None:
    boot = b"type=KERNEL msg=audit(1764000000.000:1): state=initialized audit_enabled=1 res=1\n"
    first, second = (
        Exec(names=((HELLO, device), (LOADER, device)), auid=1000).text() * 3
        for device in ("fe:02", "fe:03")
    )
    init = f"{STORE}-nixos-system-x/init"
    start = Exec(exe=init, names=((init, "fe:03"),), pid=1).text()
    assert scan(first + boot + start + second, device=None)[0] == []
    assert len(scan(first + second, device=None)[0]) == 3
