"""The lab itself: silence, a hang and a cut-off report are failures, never a pass."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.vm.conftest import Bench
from tests.vm.vmlab import accel, cache, qemu
from tests.vm.vmlab.process import LabError, run
from tests.vm.vmlab.results import Results


def report(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "report.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_an_empty_report_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "report.tar").touch()
    with pytest.raises(LabError, match="empty or cut off"):
        Results.read(tmp_path / "report.tar", 1.0)


def test_a_report_that_is_cut_off_is_a_failure(tmp_path: Path) -> None:
    path = report(tmp_path, {"mountinfo": b"x" * 4096})
    path.write_bytes(path.read_bytes()[:2048])
    with pytest.raises(LabError, match="empty or cut off"):
        Results.read(path, 1.0)


def test_a_file_that_was_not_reported_is_named(tmp_path: Path) -> None:
    results = Results.read(report(tmp_path, {"boots": b"1\n"}), 1.0)
    assert results.text("boots") == "1\n"
    with pytest.raises(LabError, match=r"did not report machine-id; it reported \['boots'\]"):
        results.text("machine-id")


def test_the_mount_on_top_is_the_one_that_counts(tmp_path: Path) -> None:
    lines = (
        b"1 0 0:1 / / rw - rootfs rootfs rw\n"
        b"2 1 0:2 / / rw,noexec - tmpfs none rw,size=2097152k,mode=755\n"
    )
    root = Results.read(report(tmp_path, {"mountinfo": lines}), 1.0).mounts()["/"]
    assert root.fs_type == "tmpfs"
    assert "noexec" in root.options
    assert "size=2097152k" in root.super_options


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    public = key.with_suffix(".pub").read_bytes()
    results = Results.read(report(tmp_path, {"host-keys/key.pub": public}), 1.0)
    assert results.host_keys()["ed25519"] in run("ssh-keygen", "-l", "-f", key)


def test_an_accelerator_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARANOID_ACCEL", "xen")
    with pytest.raises(LabError, match="PARANOID_ACCEL=xen: write kvm or tcg"):
        accel.choose(Path("/nowhere"))


def test_a_build_that_failed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARANOID_CACHE", str(tmp_path))

    def fail(work: Path) -> None:
        (work / "half").touch()
        raise LabError("no network")

    with pytest.raises(LabError, match="no network"):
        cache.build("live", "x", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_does_not_end_is_ended_and_photographed(bench: Bench) -> None:
    machine = qemu.Machine((bench.disk("blank", mib=16),), bench.lab.accel)
    with pytest.raises(LabError, match="still running after 5 s"):
        qemu.run(machine, bench.logs, seconds=5)
    assert (bench.logs / "screen.ppm").stat().st_size > 0


def test_a_job_that_fails_is_seen(bench: Bench) -> None:
    results = bench.lab.live("echo so far; exit 7", (), bench.logs)
    assert results.job_exit_code == 7
    assert results.text("job-output") == "so far\n"
