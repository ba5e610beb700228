"""One walk over a real tree, a real store with one byte changed, and what /sys says of hardware."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import struct
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from paranoid_install.store import nar
from paranoid_install.verify import (
    files,
    hardware,
    kernel_files,
    loginuid,
    parse,
    profile_files,
    search,
    store_sample,
)
from paranoid_install.verify.check import ask
from paranoid_install.verify.facts import AppArmor, NotApplicable, Sample, Search, Unknown, Usb
from paranoid_install.verify.gather import gather
from paranoid_install.verify.registry import BY_ID
from paranoid_install.verify.terms import Status
from paranoid_install.verify.tree import Tree
from tests.unit.verify.machines import mount
from tests.unit.verify.test_gather import Programs, write

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="files get owners and capabilities")
PERSIST = "nix/persist"
PATHS = 12
HASH = "0123456789abcdfghijklmnpqrsvwxyz"


def met(root: Path) -> Search:
    found = search.search(Tree(root), live=False)
    assert isinstance(found, Search)
    return found


def under(root: Path, paths: object) -> list[str]:
    assert isinstance(paths, tuple)
    return sorted(str(p.path).removeprefix(f"{root}/{PERSIST}/") for p in paths)


@ROOT
def test_what_everybody_may_write_to_is_met_whatever_kind_it_is(tmp_path: Path) -> None:
    write(tmp_path, f"{PERSIST}/srv/closed", mode=0o664)
    write(tmp_path, f"{PERSIST}/srv/open", mode=0o666)
    # Sticky means nothing on a file.
    write(tmp_path, f"{PERSIST}/srv/sticky-file").chmod(0o1666)
    os.mkfifo(tmp_path / f"{PERSIST}/srv/pipe")
    (tmp_path / f"{PERSIST}/srv/pipe").chmod(0o666)
    for name, mode in (("drop", 0o1777), ("hole", 0o777), ("closed-directory", 0o775)):
        (tmp_path / PERSIST / name).mkdir()
        (tmp_path / PERSIST / name).chmod(mode)
    (tmp_path / PERSIST / "link").symlink_to("srv")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / PERSIST / "socket"))
        (tmp_path / PERSIST / "socket").chmod(0o666)
    assert under(tmp_path, met(tmp_path).drops) == ["hole"]
    assert under(tmp_path, met(tmp_path).loose) == ["hole", "srv/open", "srv/pipe",
                                                     "srv/sticky-file"]  # fmt: skip


@ROOT
def test_each_owner_is_met_with_one_of_its_files(tmp_path: Path) -> None:
    for name, uid, gid in (("a", 0, 0), ("b", 4242, 0), ("c", 4242, 4343)):
        os.chown(write(tmp_path, f"{PERSIST}/srv/{name}"), uid, gid)
    (tmp_path / PERSIST / "srv/dangling").symlink_to("nowhere")
    os.chown(tmp_path / PERSIST / "srv/dangling", 4444, 0, follow_symlinks=False)
    found = met(tmp_path)
    assert (set(found.uids), set(found.gids)) == ({0, 4242, 4444}, {0, 4343})
    assert found.gids[4343].endswith("/srv/c")


@ROOT
def test_files_of_nobody_on_a_disk_are_told_by_the_maps(tmp_path: Path) -> None:
    write(tmp_path, f"{PERSIST}/var/lib/nixos/uid-map", '{"web": 990}')
    write(tmp_path, f"{PERSIST}/var/lib/nixos/gid-map", '{"web": 990}')
    os.chown(write(tmp_path, f"{PERSIST}/srv/web"), 990, 990)
    check = BY_ID["persistence.ownerless"]
    assert ask(check, gather(tmp_path, Programs())).status is Status.PASS
    os.chown(write(tmp_path, f"{PERSIST}/srv/lost"), 4242, 990)
    result = ask(check, gather(tmp_path, Programs()))
    assert result.status is Status.UNKNOWN
    assert result.evidence == (f"{tmp_path}/{PERSIST}/srv/lost: no user has the number 4242",)


def test_a_walk_ends_within_a_directory_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PERSIST).mkdir(parents=True)
    for number in range(3000):
        (tmp_path / PERSIST / str(number)).touch()
    answers = iter([False, True])
    monkeypatch.setattr(search, "limit", lambda _seconds: lambda: next(answers))
    assert met(tmp_path).cut


def test_a_disk_without_a_persist_root_is_unknown(tmp_path: Path) -> None:
    assert isinstance(search.search(Tree(tmp_path), live=False), Unknown)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the real nix-store registered: 12 paths, one of them a directory of two."""
    if shutil.which("nix-store") is None:
        pytest.skip("nix-store is not installed")
    root = tmp_path_factory.mktemp("registered")
    dump = []
    for number in range(PATHS):
        name = f"/nix/store/{HASH[number % 7 :] + HASH[: number % 7]}-path-{number}"
        if number:
            write(root, name.lstrip("/"), f"contents {number}\n", mode=0o555)
        else:
            write(root, f"{name.lstrip('/')}/bin/program", "x" * 70000, mode=0o555)
            (root / name.lstrip("/") / "link").symlink_to("bin")
        real = f"{root}{name}"
        archive = subprocess.check_output(["nix-store", "--dump", real])
        digest = subprocess.check_output(["nix-hash", "--type", "sha256", real], text=True)
        dump += [name, digest.strip(), str(len(archive)), "", "0"]
    subprocess.run(["nix-store", "--store", root, "--load-db"], check=True,
                   input="\n".join([*dump, ""]), text=True)  # fmt: skip
    return root


@pytest.fixture
def store(registered: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    shutil.copytree(registered, tmp_path / "disk", symlinks=True)
    return tmp_path / "disk"


def drawn(root: Path, seed: int = 1) -> Sample:
    found = store_sample.sample(Tree(root), live=False, seed=seed)
    assert isinstance(found, Sample)
    return found


def hashed(
    root: Path, seed: int, monkeypatch: pytest.MonkeyPatch, *, live: bool = False
) -> list[str]:
    """The names of the paths that are hashed, in order."""
    order: list[str] = []

    def digest(path: str, mirror: nar.Mirror) -> nar.Digest:
        order.append(Path(path).name)
        return real(path, mirror)

    real = nar.digest
    with monkeypatch.context() as changed:
        changed.setattr(nar, "digest", digest)
        store_sample.sample(Tree(root), live, seed)
    return order


def _tree(root: Path) -> list[tuple[str, int, int]]:
    return sorted((str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in root.rglob("*"))


def test_a_store_is_as_nix_registered_it_and_nothing_is_written(store: Path) -> None:
    before = _tree(store)
    found = drawn(store)
    assert (found.hashed, found.total, found.changed) == (PATHS, PATHS, ())
    assert _tree(store) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "bin/program").write_text("y" + "x" * 69999),
        lambda path: (path / "bin/program").chmod(0o444),
        lambda path: (path / "bin/program").write_text("x" * 70001),
        lambda path: (path / "more").write_text(""),
        lambda path: (path / "bin/program").rename(path / "bin/other"),
        lambda path: os.mkfifo(path / "pipe"),
        # A hole of a terabyte is not read.
        lambda path: os.truncate(path / "bin/program", 1 << 40),
    ],
)
def test_each_change_of_a_path_is_found(store: Path, spoil: object) -> None:
    assert callable(spoil)
    (path,) = (store / "nix/store").glob("*-path-0")
    spoil(path)
    found = drawn(store)
    assert len(found.changed) == 1
    assert "-path-0" in found.changed[0]


def test_the_seed_draws_the_same_sample_again(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sample, "MOST", 700)
    first, again, other = (hashed(store, seed, monkeypatch) for seed in (5, 5, 6))
    assert 0 < len(first) < PATHS
    assert first == again != other


def test_the_seed_is_told_and_can_be_given(store: Path) -> None:
    check = BY_ID["store.integrity"]
    (told,) = ask(check, gather(store, Programs(), seed=5)).evidence
    assert told.startswith(f"seed 5: {PATHS} of {PATHS} paths, ")
    drawn_by_chance = {ask(check, gather(store, Programs())).evidence for _ in range(3)}
    assert len(drawn_by_chance) == 3


def test_what_runs_and_the_systems_parts_come_first(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(path.name for path in (store / "nix/store").iterdir() if path.name[0] != ".")
    own, runs = names[3], names[6]
    (store / "nix/store" / f"{HASH}-system").mkdir()
    (store / f"nix/store/{HASH}-system/kernel").symlink_to(f"/nix/store/{own}/bzImage")
    (store / "nix/var/nix/profiles").mkdir(parents=True, exist_ok=True)
    (store / "nix/var/nix/profiles/system").symlink_to(f"/nix/store/{HASH}-system")
    proc = store / "proc"
    write(proc, "17/maps", f"7f-8f r-xp 00000000 fd:02 9  /nix/store/{runs}/bin/program\n"
          f"7f-8f r-xp 00000000 fd:02 9  /nix/store/{HASH}-never-registered/lib/x.so\n"
          f"7f-8f r-xp 00000000 fd:02 9  /nix/store/{HASH}-gone/x (deleted)\n")  # fmt: skip
    (store / f"nix/store/{HASH}-never-registered").mkdir()
    monkeypatch.setattr(store_sample, "_PROC", proc)
    order = hashed(store, 3, monkeypatch, live=True)
    found = store_sample.sample(Tree(store), live=True, seed=3)
    assert isinstance(found, Sample)
    assert order[:2] == [runs, own]
    assert (found.running, found.running_hashed) == (2, 1)
    assert found.foreign == (f"/nix/store/{HASH}-never-registered",)


def _database(root: Path, *statements: str) -> None:
    (root / "nix/var/nix/db").mkdir(parents=True)
    (root / "nix/store").mkdir()
    with sqlite3.connect(root / "nix/var/nix/db/db.sqlite") as opened:
        for statement in statements:
            opened.execute(statement)
    opened.close()


def test_a_database_that_never_answers_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _database(tmp_path,
              "create view ValidPaths as with recursive n(x) as (select 1 union all select x + 1"
              " from n) select x as path, x as hash, x as narSize from n")  # fmt: skip
    monkeypatch.setattr(store_sample, "SECONDS", 0.1)
    machine = gather(tmp_path, Programs())
    result = ask(BY_ID["store.integrity"], machine)
    assert (result.status, "interrupted" in result.evidence[0]) == (Status.UNKNOWN, True)


def test_registrations_that_are_only_in_the_log_are_known_to_be_missing(tmp_path: Path) -> None:
    _database(tmp_path, "create table ValidPaths (path text, hash text, narSize integer)")
    assert not drawn(tmp_path).pending
    (tmp_path / "nix/var/nix/db/db.sqlite-wal").write_bytes(b"x" * 32)
    assert drawn(tmp_path).pending


@pytest.mark.parametrize("text", ["", "no database"])
def test_a_store_whose_database_is_none_is_unknown(tmp_path: Path, text: str) -> None:
    machine = gather(tmp_path, Programs())
    assert ask(BY_ID["store.integrity"], machine).status is Status.UNKNOWN
    write(tmp_path, "nix/var/nix/db/db.sqlite", text)
    machine = gather(tmp_path, Programs())
    assert ask(BY_ID["store.integrity"], machine).status is Status.UNKNOWN


def test_secure_boot_is_read_where_the_firmwares_variables_are_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_EFI", tmp_path / "efi")
    assert isinstance(hardware.secure_boot(), NotApplicable)
    variables = tmp_path / "efi/efivars"
    variables.mkdir(parents=True)
    monkeypatch.setattr(hardware, "_VARIABLES", variables)
    (variables / hardware._SECURE_BOOT).write_bytes(b"\x06\0\0\0\x01")
    # Anybody who is root can lay files of that name there.
    for kind in ("sysfs", "tmpfs"):
        monkeypatch.setattr(hardware, "mount_table",
                            lambda kind=kind: (mount(str(variables), "rw", kind),))  # fmt: skip
        assert isinstance(hardware.secure_boot(), Unknown)
    monkeypatch.setattr(hardware, "mount_table", lambda: (mount(str(variables), "rw", "efivarfs"),))
    assert hardware.secure_boot() is True
    (variables / hardware._SHIM_UNCHECKED).write_bytes(b"\x06\0\0\0\x01")
    assert hardware.secure_boot() is False
    (variables / hardware._SHIM_UNCHECKED).unlink()
    (variables / hardware._SECURE_BOOT).write_bytes(b"\x06\0\0\0\0")
    assert hardware.secure_boot() is False


def test_usb_and_radios_are_read_from_sysfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_USB", tmp_path / "usb")
    monkeypatch.setattr(hardware, "_RFKILL", tmp_path / "rfkill")
    monkeypatch.setattr(hardware, "_NET", tmp_path / "net")
    assert isinstance(hardware.usb(), NotApplicable)
    assert hardware.radios() == {}
    write(tmp_path, "usb/devices/usb1/authorized_default", "1\n")
    write(tmp_path, "usb/devices/1-1/authorized", "1\n")
    (tmp_path / "usb/drivers/usb-storage").mkdir(parents=True)
    usb = hardware.usb()
    assert not isinstance(usb, NotApplicable)
    assert usb == Usb({"usb1": "1"}, frozenset({"usb_storage"}))
    for number, kind, soft, hard in ((0, "wlan", 1, 0), (1, "bluetooth", 0, 1), (2, "wwan", 0, 0)):
        for name, text in (
            ("name", f"phy{number}"),
            ("type", kind),
            ("soft", soft),
            ("hard", hard),
        ):
            write(tmp_path, f"rfkill/rfkill{number}/{name}", f"{text}\n")
    (tmp_path / "net/wlp3s0/phy80211/rfkill0").mkdir(parents=True)
    # An odd name, and a kernel without rfkill.
    (tmp_path / "net/lan0/phy80211").mkdir(parents=True)
    assert hardware.radios() == {
        "phy0 (wlan)": False, "phy1 (bluetooth)": False, "phy2 (wwan)": True, "lan0 (wlan)": True,
    }  # fmt: skip


def test_profiles_of_apparmor_are_read_by_their_mode() -> None:
    text = "/usr/bin/man (enforce)\n1 password (complain)\nsnap (kill)\nchrome (unconfined)\n"
    assert parse.apparmor(text) == AppArmor(on=True, enforced=2, others=("1 password (complain)",))
    assert parse.apparmor("") == AppArmor(on=True)


def test_the_kernels_configuration_is_read_as_it_was_built() -> None:
    text = '# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D="x=y"\nCONFIG_E=-1\n# text\n'
    assert parse.kernel_config(text) == {"B": "y", "C": "m", "D": "x=y", "E": "-1"}
    found = kernel_files.config()
    assert isinstance(found, Unknown) or found["PROC_FS"] == "y"


def test_a_module_is_blocked_by_a_command_that_loads_nothing(tmp_path: Path) -> None:
    write(tmp_path, "etc/modprobe.d/nixos.conf",
          "# install btusb /bin/false\ninstall usb-storage /nix/store/x-coreutils/bin/false\n"
          "install uas \\\n /bin/true\ninstall udf /bin/false; modprobe udf\nblacklist sctp\n"
          "install dccp /bin/false\n")  # fmt: skip
    write(tmp_path, "usr/lib/modprobe.d/more.conf", "install dccp /sbin/modprobe -i dccp\n")
    machine = gather(tmp_path, Programs())
    assert machine.blocked == frozenset({"usb_storage", "uas"})
    assert ask(BY_ID["devices.usb"], machine).status is Status.PASS


@pytest.mark.parametrize(("ends", "days"), [("2999-01-01", 350_000), ("2020-06-30", -2000)])
def test_the_end_of_a_releases_support_is_its_last_day(
    tmp_path: Path, ends: str, days: int
) -> None:
    write(tmp_path, "etc/os-release", f'ID=nixos\nSUPPORT_END="{ends}"\n')
    found = files.support(Tree(tmp_path))
    assert isinstance(found, float)
    assert (found / 86400 > days) == (days > 0)
    for text in ("ID=nixos\n", "ID=debian\nVERSION_ID=13\n", "ID=ubuntu\nVERSION_ID=25.05\n"):
        write(tmp_path, "etc/os-release", text)
        assert isinstance(files.support(Tree(tmp_path)), Unknown)


@pytest.mark.parametrize(
    ("release", "day"), [("25.05", date(2025, 12, 31)), ("26.11", date(2027, 6, 30))]
)
def test_a_release_of_nixos_is_kept_for_seven_months(
    tmp_path: Path, release: str, day: date
) -> None:
    write(tmp_path, "etc/os-release", f'ID=nixos\nVERSION_ID="{release}"\n')
    found = files.support(Tree(tmp_path))
    assert isinstance(found, float)
    end = datetime.now(UTC) + timedelta(seconds=found - 60)
    assert end.date() == day


def test_a_release_is_supported_on_the_day_itself(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    for shift, positive in ((0, True), (-1, False)):
        write(tmp_path, "etc/os-release", f"SUPPORT_END={today + timedelta(days=shift)}\n")
        found = files.support(Tree(tmp_path))
        assert isinstance(found, float)
        assert (found > 0) == positive


def _message(kind: int, on: int, locked: int) -> bytes:
    return struct.pack("=IHHII4I", 32, kind, 0, 1, 0, 1, 3, on, locked)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_message(1019, 2, 2), True),
        # On, but anybody with the right could switch it off.
        (_message(1019, 2, 0), False),
        (_message(1019, 0, 2), False),
        (_message(1019, 1, 1), False),
        (_message(1000, 2, 2), None),
        (b"", None),
        (_message(1019, 2, 2)[:30], None),
    ],
)
def test_the_number_of_a_login_is_fixed_when_that_is_locked_too(
    data: bytes, says: bool | None
) -> None:
    assert loginuid.answer(data) is says


def test_of_a_link_what_it_leads_to_has_an_owner_and_a_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_files, "tree_names", lambda: frozenset({"/etc/audit", "/etc/no"}))
    write(tmp_path, "nix/store/x-auditd.conf", mode=0o444)
    write(tmp_path, "nix/store/x-audit/plain", mode=0o640)
    (tmp_path / "nix/store/x-audit/auditd.conf").symlink_to("/nix/store/x-auditd.conf")
    (tmp_path / "nix/store/x-audit/gone").symlink_to("/nowhere")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/audit").symlink_to("/nix/store/x-audit")
    found = profile_files.trees(Tree(tmp_path))
    assert found["/etc/no"] is None
    modes = {s.path: oct(s.mode) for s in found["/etc/audit"] or () if not s.directory}
    assert modes == {"/etc/audit/plain": "0o640", "/etc/audit/auditd.conf": "0o444"}
