"""What is known for and against a rule of a profile, by the facts that its data names.

Each kind of evidence gives problems, or raises MissingError where the facts are not known. The
kinds are described where the data stands, in the head of policy/stig.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paranoid_install.verify.audit_checks import rule_of
from paranoid_install.verify.facts import Machine, MissingError, Unknown, known
from paranoid_install.verify.mount_checks import effective
from paranoid_install.verify.report import Finding
from paranoid_install.verify.ssh_checks import cases
from paranoid_install.verify.terms import Status

_ARCHITECTURES = ("b64", "b32")


@dataclass(frozen=True)
class Known:
    """A machine, and what the checks said of it."""

    machine: Machine
    findings: Mapping[str, Finding]


def problems(known_: Known, rule: Mapping[str, Any]) -> tuple[str, ...]:
    """What speaks against a rule. Raises MissingError where only facts that are missing could."""
    found: list[str] = []
    missing: MissingError | None = None
    for kind, ask in KINDS.items():
        if kind in rule:
            try:
                found += ask(known_, rule[kind])
            except MissingError as error:
                missing = error
    if missing is not None and not found:
        raise missing
    return tuple(found)


def has_evidence(rule: Mapping[str, Any]) -> bool:
    """Whether anything but a person answers a rule."""
    return any(kind in rule for kind in KINDS)


def _checks(it: Known, ids: list[str]) -> Iterator[str]:
    unsure = []
    for name in ids:
        finding = it.findings[name]
        if finding.status is Status.FAIL:
            yield f"{name}: {'; '.join(finding.evidence[:3])}"
        elif finding.status is not Status.PASS:
            unsure.append(f"{name}: {'; '.join(finding.evidence[:3])}")
    if unsure:
        raise MissingError(Unknown(unsure[0]))


def _nothing(it: Known, ids: list[str]) -> Iterator[str]:
    for name in ids:
        if it.findings[name].status is not Status.NOT_APPLICABLE:
            yield f"{name}: {it.findings[name].status}"


def _audit(it: Known, wanted: list[Mapping[str, Any]]) -> Iterator[str]:
    loaded = [rule for line in known(it.machine.audit_rules) if (rule := rule_of(line))]
    for want in wanted:
        for architecture in _ARCHITECTURES:
            # A rule with fewer fields records more.
            calls = {
                call
                for rule in loaded
                if rule.architecture == architecture and rule.fields <= set(want["fields"])
                for call in rule.calls
            }
            missing = [call for call in want["calls"] if call not in calls]
            if missing and "all" not in calls:
                shown = " ".join(want["fields"])
                yield f"no audit rule records {','.join(missing)} ({architecture}) {shown}".rstrip()


def _watch(it: Known, paths: list[str]) -> Iterator[str]:
    lines = known(it.machine.audit_rules)
    for path in paths:
        place = re.escape(path)
        form = re.compile(rf"(-w {place}/? -p|.*-F (path|dir)={place}/? .*-F perm=?) ?(\S*)")
        said = [match[3].removeprefix("=") for line in lines if (match := form.match(line))]
        if not any({"w", "a"} <= set(permissions) for permissions in said):
            yield f"changes of {path} are not recorded"


def _execute(it: Known, programs: list[str]) -> Iterator[str]:
    every = list(_audit(it, [{"calls": ["execve"], "fields": []}]))
    lines = known(it.machine.audit_rules)
    for name in programs:
        form = re.compile(rf".*-F path=\S*/{re.escape(name)} .*-F perm=\w*x")
        if every and not any(form.match(line) for line in lines):
            yield f"starts of {name} are not recorded"


def _sshd(it: Known, want: Mapping[str, Any]) -> Iterator[str]:
    for where, settings in cases(it.machine):
        said = " ".join(settings.get(want["key"], ()))
        if not said:
            raise MissingError(Unknown(f"this sshd does not print {want['key']}"))
        if not _is_wanted(said, want):
            yield f"{want['key']} {said}{where}"


def _is_wanted(said: str, want: Mapping[str, Any]) -> bool:
    # Of sshd's names and words case does not count.
    if "among" in want:
        return set(said.split(",")) <= set(want["among"])
    if "matches" in want:
        return re.fullmatch(want["matches"], said, re.IGNORECASE) is not None
    return said.isdigit() and want["least"] <= int(said) <= want["most"]


def _parameter(it: Known, wanted: str) -> Iterator[str]:
    name = wanted.partition("=")[0]
    said = [word for word in known(it.machine.parameters) if word.partition("=")[0] == name]
    if said[-1:] != [wanted]:
        yield f"the kernel was not started with {wanted}"


def _unit(it: Known, name: str) -> Iterator[str]:
    state = known(it.machine.units).get(name, {}).get("ActiveState", "not there")
    if state != "active":
        yield f"{name} is {state}"


def _no_units(it: Known, names: list[str]) -> Iterator[str]:
    units = known(it.machine.units)
    yield from (f"{name} is there" for name in names if name in units)


def _program(it: Known, names: list[str]) -> Iterator[str]:
    there = known(it.machine.programs)
    yield from (f"{name} is not installed" for name in names if name not in there)


def _no_program(it: Known, names: list[str]) -> Iterator[str]:
    there = known(it.machine.programs)
    yield from (f"{name} is installed" for name in names if name in there)


def _no_interfaces(it: Known, prefixes: list[str]) -> Iterator[str]:
    for name in known(it.machine.interfaces):
        if name.startswith(tuple(prefixes)):
            yield f"{name} is there"


def _lines(it: Known, path: str) -> tuple[str, ...] | None:
    text = known(it.machine.texts).get(path)
    return None if text is None else tuple(line.strip() for line in text.split("\n"))


def _etc(it: Known, wanted: list[Mapping[str, str]]) -> Iterator[str]:
    for want in wanted:
        lines = _lines(it, want["file"])
        if lines is None:
            yield f"/etc/{want['file']} is not there"
        elif not any(re.fullmatch(want["line"], line) for line in lines):
            yield f"/etc/{want['file']}: no line of the form {want['line']}"


def _no_etc(it: Known, wanted: list[Mapping[str, str]]) -> Iterator[str]:
    for want in wanted:
        for line in _lines(it, want["file"]) or ():
            if re.fullmatch(want["line"], line):
                yield f"/etc/{want['file']}: {line}"


def _tree(it: Known, want: Mapping[str, Any]) -> Iterator[str]:
    found = known(it.machine.trees).get(want["path"])
    if found is None:
        raise MissingError(Unknown(f"{want['path']} is not there"))
    for stat in found:
        most = want.get("directories" if stat.directory else "files")
        if most is not None and stat.mode & ~int(most, 8):
            yield f"{stat}, more than {most}"
        elif stat.uid != want.get("owner", stat.uid) or stat.gid != want.get("group", stat.gid):
            yield str(stat)


def _unique(it: Known, _wanted: bool) -> Iterator[str]:
    return _numbered_twice((user.uid, user.name) for user in known(it.machine.users))


def _unique_groups(it: Known, _wanted: bool) -> Iterator[str]:
    return _numbered_twice((group.gid, group.name) for group in known(it.machine.groups))


def _numbered_twice(numbered: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Several sources may name one user or group."""
    names: dict[int, str] = {}
    for number, name in numbered:
        first = names.setdefault(number, name)
        if first != name:
            yield f"{name} and {first} have the number {number}"


def _locked(it: Known, names: list[str]) -> Iterator[str]:
    for user in known(it.machine.users):
        if user.name in names and user.password != "locked":  # noqa: S105 - a kind of password
            yield f"{user.name} is not locked"


def _methods(it: Known, allowed: list[str]) -> Iterator[str]:
    for user in known(it.machine.users):
        if user.password == "hash" and user.method not in allowed:  # noqa: S105
            yield f"{user.name}: hashed by {user.method}"


def _groups_exist(it: Known, _wanted: bool) -> Iterator[str]:
    there = {group.gid for group in known(it.machine.groups)}
    for user in known(it.machine.users):
        if user.gid not in there:
            yield f"{user.name}: no group has the number {user.gid}"


def _loginuid(it: Known, _wanted: bool) -> Iterator[str]:
    if not known(it.machine.loginuid):
        yield "the number of a login can be changed"


def _sticky(it: Known, _wanted: bool) -> Iterator[str]:
    search = known(it.machine.search)
    if search.cut and not search.drops:
        raise MissingError(Unknown("too many files to look through in the time for it"))
    yield from map(str, search.drops)


def _sysctl(it: Known, wanted: Mapping[str, list[str]]) -> Iterator[str]:
    for key, values in wanted.items():
        said = known(known(it.machine.sysctl).get(key, Unknown(f"{key} was not read")))
        if said not in values:
            yield f"{key} = {said}"


def _config(it: Known, wanted: Mapping[str, str]) -> Iterator[str]:
    built = known(it.machine.config)
    for names, value in wanted.items():
        # An option can have had another name.
        said = next((built[name] for name in names.split("|") if name in built), "n")
        if said != value:
            yield f"CONFIG_{names.partition('|')[0]}={said}"


def _modules(it: Known, names: list[str]) -> Iterator[str]:
    loaded = known(it.machine.modules)
    for name in (name.replace("-", "_") for name in names):
        if name in loaded:
            yield f"{name} is loaded"
        elif it.findings["kernel.modules-locked"].status is not Status.PASS and (
            name not in known(it.machine.blocked)
        ):
            yield f"{name} can be loaded"


def _mount(it: Known, want: Mapping[str, Any]) -> Iterator[str]:
    path = want["path"]
    mounted = effective(it.machine)
    over = [p for p in mounted if path == p or path.startswith(f"{p.rstrip('/')}/")]
    if not over:
        raise MissingError(Unknown(f"{path}: nothing is mounted over it"))
    entry = mounted[max(over, key=len)]
    if want.get("own") and entry.mount_point != path:
        yield f"{path}: not a mount of its own"
    missing = [option for option in want.get("options", ()) if option not in entry.options]
    if missing:
        yield f"{path} (on {entry.mount_point}): no {', '.join(missing)}"


KINDS: dict[str, Callable[[Known, Any], Iterable[str]]] = {
    "checks": _checks,
    "nothing": _nothing,
    "audit": _audit,
    "watch": _watch,
    "execute": _execute,
    "sshd": _sshd,
    "parameter": _parameter,
    "unit": _unit,
    "no_units": _no_units,
    "program": _program,
    "no_program": _no_program,
    "no_interfaces": _no_interfaces,
    "etc": _etc,
    "no_etc": _no_etc,
    "tree": _tree,
    "unique": _unique,
    "locked": _locked,
    "methods": _methods,
    "unique_groups": _unique_groups,
    "groups_exist": _groups_exist,
    "loginuid": _loginuid,
    "sticky": _sticky,
    "sysctl": _sysctl,
    "modules": _modules,
    "config": _config,
    "mount": _mount,
}
"""What speaks for or against a rule, by the key of its data."""
