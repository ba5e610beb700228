"""What must outlive a boot does, and is closed to others."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, searched, unknown, unless
from paranoid_install.verify.facts import (
    Machine,
    MissingError,
    NotApplicable,
    Search,
    Stat,
    Unknown,
    User,
    known,
)
from paranoid_install.verify.mount_checks import effective
from paranoid_install.verify.terms import Severity
from paranoid_install.verify.unit_checks import own

_PERSIST = policy.load("layout")["persist"]
_NIX = policy.load("layout")["nix"]["mountPoint"]
_DYNAMIC = range(*policy.load("verify")["files"]["dynamicUsers"])
_KEYS = [key["path"] for key in policy.load("layout")["hostKeys"]]


def _directories_persist(machine: Machine) -> Result:
    mounted = effective(machine)
    root = mounted.get(_PERSIST["root"]) or mounted.get(_NIX)
    if root is None:
        return unless([f"{_PERSIST['root']}: nothing is mounted there"])
    # A mount of the whole disk at /nix has the persist root as a directory in it.
    below = "" if root.mount_point == _PERSIST["root"] else _PERSIST["root"].removeprefix(_NIX)
    base = root.root.rstrip("/") + below

    def problems() -> Iterator[str]:
        for directory in _PERSIST["directories"]:
            path = directory["path"]
            entry = mounted.get(path)
            if entry is None:
                yield f"{path}: not a mount, so it is lost at the next boot"
            elif (entry.device_number, entry.root) != (root.device_number, base + path):
                yield f"{path}: mounted from {entry.source}{entry.root}, not from the persist root"

    return unless(problems())


def _host_keys_persist(machine: Machine) -> Result:
    keys = {stat.path: stat for stat in known(machine.host_keys)}

    def problems() -> Iterator[str]:
        for path in _KEYS:
            if path not in keys:
                yield f"{path}: not there"
            elif keys[path].mode & 0o077 or keys[path].uid != 0:
                yield str(keys[path])

    return unless(problems())


def _machine_id_persists(machine: Machine) -> Result:
    running, persisted = known(machine.machine_id)
    if not persisted:
        return unless([f"no machine-id below {_PERSIST['root']}"])
    return unless([] if running == persisted else [f"running {running}, persisted {persisted}"])


def _owners_are_right(machine: Machine) -> Result:
    stats = {stat.path: stat for stat in known(machine.owners)}
    if not stats:
        return unknown(f"{_PERSIST['root']}: none of its directories is there; is it mounted?")
    problems = []
    for directory in _PERSIST["directories"]:
        stat = stats.pop(_PERSIST["root"] + directory["path"], None)
        if stat is not None and (stat.uid != 0 or stat.mode & ~int(directory["mode"], 8)):
            problems.append(f"{stat}, not root's with {directory['mode']}")
    if not isinstance(machine.users, NotApplicable):
        problems += _drifted(stats, known(machine.users), _service_users(machine))
    return unless(problems)


def _service_users(machine: Machine) -> dict[str, str]:
    """The user of each directory that a service of paranoid.services works in."""
    return {
        _PERSIST["root"] + unit["WorkingDirectory"]: unit["User"]
        for unit in own(known(machine.units)).values()
        if unit.get("DynamicUser") != "yes" and unit.get("User", "") not in ("", "root", "0")
    }


def _drifted(
    stats: Mapping[str, Stat], users: Iterable[User], services: Mapping[str, str]
) -> Iterator[str]:
    numbers = {user.name: user.uid for user in users}
    for path, stat in stats.items():
        name = services.get(path)
        if name is not None and stat.uid != numbers.get(name):
            yield f"{stat}, not {name}'s"
        elif stat.uid not in numbers.values() and stat.uid not in _DYNAMIC:
            yield f"{stat}: nobody has this number"


def _uid_maps_persist(machine: Machine) -> Result:
    maps = known(machine.uid_maps)
    return unless([] if maps else ["no uid-map and gid-map on the persist root"])


def _is_open(stat: Stat) -> bool:
    return stat.uid != 0 or bool(stat.mode & (0o022 if stat.directory else 0o077))


def _secrets_are_closed(machine: Machine) -> Result:
    secrets = known(machine.secrets)
    if not secrets:
        return not_applicable("no secrets of the policy are on the persist root")
    return unless(str(stat) for stat in secrets if _is_open(stat))


def _nothing_is_everybodys(machine: Machine) -> Result:
    search = _persisted(machine)
    return searched(map(str, search.loose), search)


def _persisted(machine: Machine) -> Search:
    search = known(machine.search)
    if not search.persist:
        raise MissingError(Unknown(f"{_PERSIST['root']}: not there; is it mounted?"))
    return search


def _nothing_is_nobodys(machine: Machine) -> Result:
    search = _persisted(machine)
    if isinstance(machine.users, NotApplicable):
        # Numbers that a configuration names itself are in no map.
        users, groups = known(machine.allotted)
        strange = [*_strange(search.uids, users, "user"), *_strange(search.gids, groups, "group")]
        return unknown(*strange) if strange else searched((), search)
    users = frozenset(user.uid for user in known(machine.users))
    groups = frozenset(group.gid for group in known(machine.groups))
    strange = [*_strange(search.uids, users, "user"), *_strange(search.gids, groups, "group")]
    return searched(strange, search)


def _strange(owners: Mapping[int, str], numbers: Container[int], kind: str) -> Iterator[str]:
    for number, path in sorted(owners.items()):
        if number not in numbers and number not in _DYNAMIC:
            yield f"{path}: no {kind} has the number {number}"


CHECKS = (
    Check("persistence.directories", "what must persist is on the disk", Severity.HIGH,
          "logs and data on the volatile root are lost at the next boot",
          "paranoid.amnesia.enable", _directories_persist),
    Check("persistence.host-keys", "ssh host keys persist, and are root's", Severity.CRITICAL,
          "new keys at each boot teach people to accept any; readable ones can be copied",
          "paranoid.sshd.enable", _host_keys_persist),
    Check("persistence.machine-id", "the machine-id persists", Severity.MEDIUM,
          "journals of different boots belong to one machine by it", "paranoid.amnesia.enable",
          _machine_id_persists),
    Check("persistence.uid-maps", "the maps of user numbers persist", Severity.MEDIUM,
          "without them files change their owner when services come and go",
          "paranoid.amnesia.enable", _uid_maps_persist),
    Check("persistence.owners", "what persists belongs to whom it should", Severity.HIGH,
          "after numbers of users moved, one service reads and changes what is another's",
          "users.users.<name>.uid", _owners_are_right),
    Check("persistence.writable", "what persists is not everybody's to write", Severity.HIGH,
          "what any service can change, each can change for the others", "paranoid.amnesia.enable",
          _nothing_is_everybodys),
    Check("persistence.ownerless", "what persists belongs to somebody", Severity.MEDIUM,
          "the next user who gets the number gets the files", "users.users.<name>.uid",
          _nothing_is_nobodys),
    Check("persistence.secrets", "secrets are root's alone", Severity.HIGH,
          "a password hash that can be read can be guessed at leisure", "paranoid.users.enable",
          _secrets_are_closed),
)  # fmt: skip
