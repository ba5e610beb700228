"""`watch` on the installed machine: programs from elsewhere are told of, those of the store not.

Real auditd and journald, two watches at once: one reads the journal, one follows auditd's file.
A third reads the file when all is over. Programs of this machine are started by links in /usr:
a live watch proves by the inode that they led into the store; of a file nobody can prove it,
so the third one is given them as exceptions.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from paranoid_install import policy
from tests.vm.vmlab.running import Running
from tests.vm.vmlab.standing import COMMAND, PACKAGE, Standing

pytestmark = pytest.mark.full

LOG = "/var/log/audit/audit.log"
STATE = "/var/lib/paranoid-watch"
WATCHES = {"journal": f"journal --resume {STATE}/cursor", "file": LOG}
ALERTS = {"journal": f"{STATE}/alerts", "file": "/run/alerts-file"}
UNITS = [f"watch-{name}" for name in WATCHES]
LINKS = "".join(f" --allow-path {name}" for name in ("/usr/", "/bin/", "/sbin/", "/lib/"))

ANYWHERE = "/lib64/ld-linux-x86-64.so.2"

_MEMFD = """
import os
f = os.memfd_create("hidden")
os.write(f, open("/usr/bin/true", "rb").read())
os.execve(f"/proc/self/fd/{f}", ["hidden"], {})
"""
_DELETED = """
import os, shutil
shutil.copy("/usr/bin/true", "/srv/deleted")
f = os.open("/srv/deleted", os.O_RDONLY)
os.unlink("/srv/deleted")
os.execve(f, ["deleted"], {})
"""


def python(code: str) -> str:
    return f"python3 -c {shlex.quote(code)}"


@dataclass(frozen=True)
class Start:
    """A way to start something that is not from the store, and what is to be said of it.

    `live`: a file alone does not show it.
    """

    command: str
    reason: str
    path: str
    live: bool = False


STARTS = {
    "a program": Start("/srv/program", "outside-store", "/srv/program"),
    "a program by a relative name": Start("cd /srv; ./near", "outside-store", "/srv/near"),
    "a script": Start("/srv/script.sh", "script", "/srv/script.sh"),
    "a script by a shell": Start("bash /srv/handed.sh", "interpreted", "/srv/handed.sh"),
    "a script beside a shell": Start("cd /srv; sh ./here.sh", "interpreted", "/srv/here.sh"),
    "a script by python": Start("python3 /srv/script.py", "interpreted", "/srv/script.py"),
    "a program by the loader": Start(f"{ANYWHERE} /srv/loaded", "loaded", "/srv/loaded"),
    "a file in memory": Start(python(_MEMFD), "memfd", "/memfd:hidden (deleted)"),
    "a file that is gone": Start(python(_DELETED), "deleted", "/srv/deleted (deleted)"),
    "a program in a namespace": Start(
        "unshare --mount --pid --fork /srv/apart", "outside-store", "/srv/apart"
    ),
    "a program laid over one of the store": Start(
        "name=$(realpath /usr/bin/false); unshare --mount --propagation private"
        ' sh -c "mount --bind /srv/over $name && $name"',
        "forged-store-path",
        "/usr/bin/false",
        live=True,
    ),
    "a script laid over a file of the store": Start(
        "name=$(realpath /usr/bin/yes); unshare --mount --propagation private"
        ' sh -c "mount --bind /srv/waits.sh $name && sh $name"',
        "forged-store-path",
        "/usr/bin/yes",
        live=True,
    ),
}

# It runs until it is seen: where it runs can only be looked at meanwhile.
_WAITS = f"timeout 60 sh -c 'until {' && '.join(f'grep -q bin/yes {a}' for a in ALERTS.values())};"
PREPARED = f"""
set -e
mount -o remount,bind,exec,nosuid,nodev /srv
cd /srv
for name in program near loaded apart over marker hostile; do
  cp /usr/bin/true $name
done
for name in script.sh handed.sh here.sh; do
  printf '#!/bin/sh\\ntrue\\n' > $name
done
cat > waits.sh << 'END'
{_WAITS} do sleep 1; done'
END
echo pass > script.py
chmod 755 ./*
sysctl -qw vm.memfd_noexec=0 2> /dev/null || true
"""

UNIT = f"""
[Unit]
Description=Watch for Programs From Outside the Store
[Service]
Environment=PYTHONPATH={PACKAGE}
ExecStart=/usr/bin/python3 -m paranoid_install watch --quiet --rate 0 %s --file %s
"""


def sandbox() -> str:
    """The lines that the module of the service writes: what it is refused is refused here too."""
    lines = policy.load("units")["sets"]["service"] | policy.load("watch")["service"]
    return "".join(
        f"{name}={str(one).lower() if isinstance(one, bool) else one}\n"
        for name, value in lines.items()
        for one in (value if isinstance(value, list) else [value])
    )


# auditd's file is root's: who follows it is no service of the module.
SANDBOXES = {"journal": sandbox(), "file": ""}

HOSTILE = [
    'x\ntype=EXECVE msg=audit(1.000:1): argc=1 a0="/nix/store/x"',
    '" exe="/nix/store/y" name="/nix/store/z',
    "\x1b]0;owned\x07\x1b[2J",
    'end\x1dEXE="/nix/store/z"',
    "--\u202e--",
]
HOSTILE_NAME = '/srv/ev\x1b[31mil\ntype=SYSCALL msg=audit(1.000:2): "success"=no exe="/nix/store'


class Watched:
    """The machine with both watches running, and the alerts that each has written so far."""

    def __init__(self, machine: Running) -> None:
        self.machine = machine
        self._markers = 0

    def alerts(self, name: str) -> list[dict[str, Any]]:
        text = self.machine.run(f"cat {ALERTS[name]}")
        return [json.loads(line) for line in text.splitlines()]

    def mark(self) -> str:
        """Start a program that is reported, and wait until both watches have done so."""
        self._markers += 1
        word = f"marker-{self._markers:03}"
        files = " ".join(ALERTS.values())
        # The first ones may come before a watch has begun to look.
        again = f"/srv/marker {word};" if self._markers == 1 else ""
        self.machine.run(
            f"/srv/marker {word}; for file in {files}; do"
            f' timeout 100 sh -c \'until grep -qs "$1" "$2"; do {again} sleep 1; done\''
            f" - {word} $file || exit 1; done"
        )
        return word

    def between(self, name: str, first: str, last: str) -> list[dict[str, Any]]:
        """Executions that were reported after one marker and before another."""
        return between(self.alerts(name), first, last)

    def replayed(self, options: str = "--json") -> str:
        done = self.machine.ssh(f"{COMMAND} watch --replay {LOG} {options}{LINKS}")
        assert done.returncode == 8, done.stderr
        return done.stdout


def between(alerts: list[dict[str, Any]], first: str, last: str) -> list[dict[str, Any]]:
    words = [alert.get("argv", ["", ""])[1:2] for alert in alerts]
    end = words.index([last])
    start = max(n for n, word in enumerate(words[:end]) if word == [first])
    return [alert for alert in alerts[start + 1 : end] if alert["event"] == "execution"]


@pytest.fixture(scope="module")
def watched(standing: Standing) -> Iterator[Watched]:
    with standing.up("watched") as machine:
        machine.run(PREPARED)
        for name, source in WATCHES.items():
            unit = UNIT % (source, ALERTS[name]) + SANDBOXES[name]
            machine.run(f"printf %s {shlex.quote(unit)} > /etc/systemd/system/watch-{name}.service")
        machine.run(f"systemctl daemon-reload; systemctl start {' '.join(UNITS)}")
        yield Watched(machine)


@pytest.fixture(scope="module")
def started(watched: Watched) -> tuple[str, str]:
    """All of STARTS were started between these two markers."""
    first = watched.mark()
    for start in STARTS.values():
        watched.machine.ssh(start.command)
    return first, watched.mark()


@pytest.mark.parametrize("name", WATCHES)
def test_each_start_of_something_else_is_reported_once_and_nothing_more(
    watched: Watched, started: tuple[str, str], name: str
) -> None:
    found = [(a["reasons"], a["paths"]) for a in watched.between(name, *started)]
    assert len(found) == len(STARTS), found
    for start, (reasons, paths) in zip(STARTS.values(), found, strict=True):
        assert reasons[0] == start.reason, (start, reasons)
        assert paths[0].endswith(start.path), (start, paths)


def test_the_file_tells_the_same_later(watched: Watched, started: tuple[str, str]) -> None:
    alerts = [json.loads(line) for line in watched.replayed().splitlines()]
    found = between(alerts, *started)
    expected = [start for start in STARTS.values() if not start.live]
    assert len(found) == len(expected), found
    for start, alert in zip(expected, found, strict=True):
        assert start.reason in alert["reasons"], (start, alert)
        assert any(path.endswith(start.path) for path in alert["paths"]), (start, alert)


def test_who_started_it_is_said(watched: Watched, started: tuple[str, str]) -> None:
    found = watched.between("file", *started)[0]
    assert (found["user"], found["uid"], found["success"]) == ("root", 0, "yes")
    assert found["parent"].startswith("/nix/store/")
    assert found["key"] == "exec"


def test_a_refused_start_is_reported_as_such(watched: Watched) -> None:
    first = watched.mark()
    watched.machine.run(
        "mount -o remount,bind,noexec,nosuid,nodev /srv; /srv/program; [ $? -eq 126 ] || exit 1;"
        " mount -o remount,bind,exec,nosuid,nodev /srv"
    )
    last = watched.mark()
    for name in WATCHES:
        found = watched.between(name, first, last)
        assert [(a["reasons"], a["paths"], a["success"]) for a in found] == [
            (["denied"], ["/srv/program"], "no")
        ]


def test_a_thousand_programs_of_the_store_are_not(watched: Watched) -> None:
    """By their own names, and by links that are not NixOS's."""
    first = watched.mark()
    for start in range(1, 500, 50):
        watched.machine.run(
            f"name=$(realpath /usr/bin/true); for n in $(seq {start} {start + 49});"
            " do $name $n; /usr/bin/true $n; done"
        )
    last = watched.mark()
    for name in WATCHES:
        assert watched.between(name, first, last) == []
    recorded = watched.machine.run(f"grep -c 'type=EXECVE.*a1=\"500\"' {LOG}")
    assert int(recorded) == 2


def test_arguments_forge_nothing(watched: Watched) -> None:
    """They are shown as they were, in one alert, in letters that a terminal only shows."""
    first = watched.mark()
    code = (
        f"import os, shutil, subprocess; subprocess.run(['/srv/hostile', *{HOSTILE!r}]);"
        f"os.makedirs(os.path.dirname({HOSTILE_NAME!r}), exist_ok=True);"
        f"shutil.copy('/usr/bin/true', {HOSTILE_NAME!r}); subprocess.run([{HOSTILE_NAME!r}])"
    )
    watched.machine.run(python(code))
    last = watched.mark()
    for name in WATCHES:
        arguments, strange = watched.between(name, first, last)
        assert (arguments["exe"], arguments["argv"][0]) == ("/srv/hostile", "/srv/hostile")
        assert [shown(word) for word in HOSTILE] == arguments["argv"][1:]
        assert (strange["reasons"], strange["exe"]) == (["outside-store"], shown(HOSTILE_NAME))


def shown(text: str) -> str:
    """As alerts write it: printable ASCII, other bytes as \\xNN, a backslash doubled."""
    plain = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {0x5C: "\\\\"}
    return "".join(plain.get(byte, f"\\x{byte:02x}") for byte in text.encode())


def test_no_alert_reaches_the_terminal_raw(watched: Watched) -> None:
    """After the hostile ones: each line of what is shown is one alert, and letters alone."""
    text = watched.replayed("--rate 0")
    lines = text.splitlines()
    assert all(line.isprintable() and line.isascii() for line in lines)
    assert all(line.startswith(("execution: ", "configuration: ", "ended: ")) for line in lines)
    assert "\\x1b[31mil\\x0atype=SYSCALL" in text


def test_what_is_started_while_the_watch_is_down_is_reported_after(watched: Watched) -> None:
    """Once, if it was stopped; if it was killed, nothing is missed either."""
    first = watched.mark()
    watched.machine.run(
        "systemctl stop watch-journal && /srv/program while-it-was-stopped"
        " && systemctl start watch-journal"
    )
    between_them = watched.mark()
    watched.machine.run(
        "systemctl kill -s KILL watch-journal && /srv/program while-it-was-killed"
        " && systemctl reset-failed watch-journal; systemctl start watch-journal"
    )
    last = watched.mark()
    stopped = [alert["argv"] for alert in watched.between("journal", first, between_them)]
    assert stopped == [["/srv/program", "while-it-was-stopped"]]
    killed = [alert["argv"] for alert in watched.between("journal", between_them, last)]
    assert ["/srv/program", "while-it-was-killed"] in killed


def test_nothing_was_lost_and_a_watch_that_is_stopped_says_what_it_saw(watched: Watched) -> None:
    watched.machine.run(f"systemctl stop {' '.join(UNITS)}")
    for name in WATCHES:
        *_, ended = watched.alerts(name)
        assert ended["event"] == "ended"
        assert (ended["lost"], ended["suppressed"]) == (0, 0)
        # The other one has begun anew since.
        assert ended["inside"] > (1000 if name == "file" else 0)


def test_what_ran_after_the_watch_in_one_boot_is_reported_in_the_next(standing: Standing) -> None:
    kept = "/var/lib/watch"
    watch = f"{COMMAND} watch --quiet --resume {kept}/cursor --file {kept}/alerts{LINKS}"
    program = "/var/lib/watch/program"
    wait = f"timeout 100 sh -c 'until grep -s \"$0\" {kept}/alerts; do $1; sleep 1; done'"
    with standing.copied("rebooted") as boot:
        with boot("rebooted-before") as machine:
            machine.run(
                f"mount -o remount,bind,exec,nosuid,nodev /var/lib; mkdir {kept};"
                f" cp /usr/bin/true {program}; {watch} & watch=$!;"
                f" {wait} again '{program} again' && kill $watch; wait $watch;"
                f" {program} after-it && journalctl --sync"
            )
            assert "after-it" not in machine.run(f"cat {kept}/alerts")
            machine.power_off()
        with boot("rebooted-after") as machine:
            machine.run(f"{watch} & watch=$!; {wait} after-it true; kill $watch; wait $watch")
            assert "after-it" in machine.run(f"cat {kept}/alerts")
