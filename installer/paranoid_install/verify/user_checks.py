"""Who exists, who can become root, and by which programs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, searched, unless
from paranoid_install.verify.facts import Machine, Stat, known
from paranoid_install.verify.terms import Severity

_OWN = policy.load("verify")
_SUDO = ("sudo", "sudoedit")
_PAM = _OWN["pam"]
_STORE = policy.load("layout")["store"]["mountPoint"] + "/"
# What spares a password (sudoers(5)), and lines that are about nobody.
_UNASKED = re.compile(r"NOPASSWD|!\s*authenticate|\bexempt_group\b")
_DEFINITION = re.compile(r"Defaults(?=[\s@:!>])|(?:User|Runas|Host|Cmnd|Cmd)_Alias\s")
_ADMINISTRATORS = re.compile(r"(?:root|%wheel)\s+[^\s,]")


def _name(stat: Stat) -> str:
    return stat.path.rpartition("/")[2]


def _one_root(machine: Machine) -> Result:
    return unless(
        f"{user.name} has the number 0"
        for user in known(machine.users)
        if user.uid == 0 and user.name != "root"
    )


def _no_empty_passwords(machine: Machine) -> Result:
    return unless(
        f"{user.name} needs no password"
        for user in known(machine.users)
        if user.password == "empty"  # noqa: S105 - a kind of password
    )


def _passwords_are_declared(machine: Machine) -> Result:
    return unless(
        f"{user.name}: the password is not the one of its file on the persist root"
        for user in known(machine.users)
        if user.password == "hash" and not user.declared  # noqa: S105
    )


def _sudo_is_closed(machine: Machine) -> Result:
    found = [stat for stat in known(machine.wrappers) if _name(stat) in _SUDO]
    if not found:
        return not_applicable("there is no sudo")
    return unless(str(stat) for stat in found if stat.mode & 0o001)


def _few_wrappers(machine: Machine) -> Result:
    allowed = (*_OWN["wrappers"]["allowed"], *_SUDO)
    return unless(str(stat) for stat in known(machine.wrappers) if _name(stat) not in allowed)


def _wrappers_are_roots(machine: Machine) -> Result:
    return unless(
        str(stat) for stat in known(machine.wrappers) if stat.uid != 0 or stat.mode & 0o022
    )


def _no_other_setuid(machine: Machine) -> Result:
    search = known(machine.search)
    return searched(map(str, search.setuid), search)


def _few_programs(machine: Machine) -> Result:
    def problems() -> Iterator[str]:
        programs = known(machine.programs)
        for name in _OWN["packages"]["unwanted"]:
            if name in programs:
                yield f"{name} is installed for everybody"

    return unless(problems())


def _hashes_are_slow(machine: Machine) -> Result:
    return unless(
        f"{user.name}: hashed by {user.method}"
        for user in known(machine.users)
        if user.password == "hash" and user.method not in _OWN["passwords"]["methods"]  # noqa: S105
    )


def _no_roots_by_group(machine: Machine) -> Result:
    groups = known(machine.groups)
    # A number counts, not its name: that of root, and of each group of the policy.
    wanted = {0: "root"} | {g.gid: g.name for g in groups if g.name in _OWN["groups"]["root"]}

    def problems() -> Iterator[str]:
        for group in groups:
            if group.gid in wanted:
                also = "" if group.name == wanted[group.gid] else f", by the name {group.name}"
                for member in group.members:
                    if member != "root":
                        yield f"{member} is in {wanted[group.gid]}{also}"
        for user in known(machine.users):
            if user.gid in wanted and user.uid != 0:
                yield f"{user.name}: its group is {wanted[user.gid]}"

    members = [member for group in groups if group.name == "wheel" for member in group.members]
    return unless(problems(), *(f"wheel: {member}" for member in members))


def _sudo_asks(machine: Machine) -> Result:
    def problems() -> Iterator[str]:
        for line in known(machine.sudoers):
            if _UNASKED.search(line):
                yield line
            elif not _DEFINITION.match(line) and not _ADMINISTRATORS.match(line):
                yield f"{line}: for others than root and wheel"

    return unless(problems())


def _pam_asks(machine: Machine) -> Result:
    def problems() -> Iterator[str]:
        for service, lines in known(machine.pam).items():
            for line in lines:
                kind, control, module = _pam_line(line)
                name = module.rpartition("/")[2]
                deciding = name in _PAM["deciding"] and control not in _PAM["restricting"]
                if kind == "auth" and (name in _PAM["unasked"] or deciding):
                    yield f"{service}: {line}"
                elif "/" in module and not (module.startswith(_STORE) and "/../" not in module):
                    yield f"{service}: {line}: not of the store"

    return unless(problems())


def _pam_line(line: str) -> tuple[str, str, str]:
    """The kind of a line of pam.d(5), its control, and its module or the file that it includes."""
    kind, _, rest = " ".join(line.split()).partition(" ")
    if kind == "@include":
        return kind, kind, rest
    end = "]" if rest.startswith("[") else " "
    control, _, rest = rest.partition(end)
    return kind.lstrip("-").lower(), control.lower(), rest.strip().partition(" ")[0]


def _nobody_comes_back(machine: Machine) -> Result:
    search = known(machine.search)
    return searched((f"{path}: has capabilities" for path in search.capable), search)


CHECKS = (
    Check("users.root", "root alone has the number 0", Severity.CRITICAL,
          "a second name for root is a back door", "users.users.<name>.uid", _one_root),
    Check("users.empty-passwords", "nobody gets in without a password", Severity.CRITICAL,
          "an empty password is none", "paranoid.users.enable", _no_empty_passwords),
    Check("users.passwords", "passwords come from the persist root", Severity.HIGH,
          "an initial password, or one that somebody set, is not the owner's",
          "paranoid.users.enable", _passwords_are_declared),
    Check("users.sudo", "only administrators can start sudo", Severity.HIGH,
          "mistakes in it are of no use to those who cannot start it", "paranoid.sudo.mode",
          _sudo_is_closed),
    Check("users.wrappers", "there are no set-uid programs that can be spared", Severity.HIGH,
          "each is a large program that runs as root with what a user gives it",
          "paranoid.sudo.enable", _few_wrappers),
    Check("users.wrappers-owner", "set-uid programs belong to root", Severity.CRITICAL,
          "who can write to one is root", "security.wrappers.<name>.owner",
          _wrappers_are_roots),
    Check("users.setuid", "there are no set-uid files elsewhere", Severity.HIGH,
          "one left behind is a way back in", "paranoid.sudo.enable", _no_other_setuid),
    Check("users.hashes", "passwords are hashed so that guessing is slow", Severity.HIGH,
          "of old hashes billions are tried in a second", "paranoid.users.enable",
          _hashes_are_slow),
    Check("users.groups", "nobody is in a group that is as good as root", Severity.HIGH,
          "who can mount, read the disk or start a container as root is root",
          "users.users.<name>.extraGroups", _no_roots_by_group),
    Check("users.sudoers", "sudo is for administrators, and asks for a password", Severity.MEDIUM,
          "a program that runs as an administrator would be root at once",
          "security.sudo.extraRules", _sudo_asks),
    Check("users.pam", "PAM lets nobody in unasked", Severity.CRITICAL,
          "one line that permits opens a login to every password",
          "security.pam.services.<name>", _pam_asks),
    Check("users.capabilities", "no files give capabilities", Severity.HIGH,
          "one left behind is a way back in", "security.wrappers.<name>.capabilities",
          _nobody_comes_back),
    Check("users.packages", "no programs that nobody asked for", Severity.LOW,
          "an intruder uses what is there", "paranoid.packages.enable", _few_programs),
)  # fmt: skip
