"""The ssh daemon as it runs: what `sshd -T` prints, against sshd.toml."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, unknown, unless
from paranoid_install.verify.facts import Machine, MissingError, known
from paranoid_install.verify.terms import Severity

_POLICY = policy.load("sshd")
_LAYOUT = policy.load("layout")
# Who signs keys, or answers for them, lets in whom they like.
_OTHER_WAYS = ("AuthorizedKeysCommand", "TrustedUserCAKeys", "AuthorizedPrincipalsCommand")
_KINDS = "PubkeyAcceptedAlgorithms"
# sshd -T prints an older name for this value.
_ALIASES = {"without-password": "prohibit-password"}
# An sshd before 9.8 has no penalties, and prints nothing of them: off is what it does.
_LACKING = frozenset({"PerSourcePenalties"})


def wanted(value: Any) -> str:
    """A value of the policy as sshd prints it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list) else str(value)


def _differs(key: str, found: str) -> bool:
    value = _POLICY["settings"][key]
    if isinstance(value, list):
        # Fewer algorithms are stricter.
        return not set(found.split(",")) <= set(value)
    found = _ALIASES.get(found, found)
    return found.lower() != wanted(value).lower()


def cases(machine: Machine) -> Iterator[tuple[str, Mapping[str, tuple[str, ...]]]]:
    """The settings for everybody, and those where a Match block holds, with what it says.

    Raises MissingError in the end when nobody knows of the blocks.
    """
    yield "", known(machine.sshd)
    for block in known(machine.sshd_blocks):
        yield f" (Match {block.condition})", block.settings


def _judge(
    machine: Machine,
    question: Callable[[Mapping[str, tuple[str, ...]]], tuple[list[str], list[str]]],
) -> Result:
    """Ask a question of each case: what is wrong, and what cannot be told."""
    problems, absent = [], []
    try:
        for where, settings in cases(machine):
            wrong, open_ = question(settings)
            problems += [f"{text}{where}" for text in wrong]
            absent += [f"{text}{where}" for text in open_]
    except MissingError:
        # What is wrong for everybody is wrong, whatever else there is.
        if not problems:
            raise
    return unless(problems) if problems or not absent else unknown(*absent)


def _settings(machine: Machine, keys: list[str]) -> Result:
    def question(effective: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[str]]:
        problems, absent = [], []
        for key in keys:
            values = effective.get(key.lower())
            if values is None and key in _LACKING:
                continue
            if values is None:
                absent.append(f"this sshd does not print {key}")
            elif _differs(key, " ".join(values)):
                problems.append(f"{key} {' '.join(values)}")
        return problems, absent

    return _judge(machine, question)


def _keys_of_users(machine: Machine) -> Result:
    allowed = {*_POLICY["authorizedKeysFiles"], f"{_LAYOUT['persist']['authorizedKeys']}/%u"}

    def question(effective: Mapping[str, tuple[str, ...]]) -> tuple[list[str], list[str]]:
        files = [f for value in effective.get("authorizedkeysfile", ()) for f in value.split()]
        if not files:
            return [], ["this sshd does not print AuthorizedKeysFile"]
        problems = [f"AuthorizedKeysFile {file}" for file in files if file not in allowed]
        for key in _OTHER_WAYS:
            said = " ".join(effective.get(key.lower(), ("none",)))
            if said != "none":
                problems.append(f"{key} {said}")
        return problems, []

    return _judge(machine, question)


def _host_keys(machine: Machine) -> Result:
    effective = known(machine.sshd)
    allowed = {key["path"] for key in _LAYOUT["hostKeys"]}

    def problems() -> Iterator[str]:
        keys = effective.get("hostkey", ())
        if not keys:
            yield "no HostKey"
        yield from (f"HostKey {key}" for key in keys if key not in allowed)

    return unless(problems())


def _key_files(machine: Machine) -> Result:
    files = known(machine.key_files)
    if not files:
        return not_applicable("nobody's keys are there")

    def problems() -> Iterator[str]:
        for file in files:
            if file.stat.uid != 0 or file.stat.mode & 0o022:
                yield str(file.stat)
            for stat in file.above:
                yield f"{stat}, so that {file.stat.path} can be another file"
            for kind in sorted(set(file.kinds) - set(_POLICY["settings"][_KINDS])):
                yield f"{file.stat.path}: a key of kind {kind}"

    return unless(problems(), *(f"{file.stat.path}: {len(file.kinds)} keys" for file in files))


def _sftp(machine: Machine) -> Result:
    systems = known(machine.sshd).get("subsystem", ())
    return unless(f"Subsystem {system}" for system in systems)


def _grouped(group: Mapping[str, Any]) -> Check:
    def function(machine: Machine) -> Result:
        return _settings(machine, group["keys"])

    return Check(f"ssh.{group['id']}", group["title"], Severity(group["severity"]), group["why"],
                 "paranoid.sshd.enable", function)  # fmt: skip


CHECKS = (
    *(_grouped(group) for group in policy.load("verify")["sshd"]),
    Check("ssh.authorized-keys", "keys are read from root's files alone", Severity.HIGH,
          "who becomes a user could add a key of their own, and come back",
          "paranoid.sshd.enable", _keys_of_users),
    Check("ssh.host-keys", "sshd uses the keys that persist", Severity.HIGH,
          "keys on the volatile root are new at each boot", "paranoid.sshd.enable", _host_keys),
    Check("ssh.keys", "keys are root's to write, and strong", Severity.HIGH,
          "who can write to such a file lets in whom they like", "paranoid.sshd.enable",
          _key_files),
    Check("ssh.sftp", "no file transfer by ssh", Severity.LOW,
          "a second service behind the same door", "paranoid.sshd.sftp", _sftp),
)  # fmt: skip
