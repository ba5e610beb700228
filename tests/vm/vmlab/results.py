"""What a machine reports: a tar stream on its virtio port, read as files by name."""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.vmlab.process import LabError


@dataclass(frozen=True)
class Mount:
    """A mount as /proc/self/mountinfo has it: options of the mount, then of the file system."""

    point: str
    fs_type: str
    source: str
    options: frozenset[str]
    super_options: frozenset[str]


@dataclass(frozen=True)
class Results:
    """The files of one report. A missing one is an error that names it."""

    files: dict[str, bytes]
    seconds: float
    """From power-on to power-off, on the host's clock."""

    @classmethod
    def read(cls, stream: Path, seconds: float) -> Results:
        """LabError unless the stream is a whole tar archive with something in it."""
        files = {}
        try:
            with tarfile.open(stream) as archive:
                for member in archive:
                    data = archive.extractfile(member)
                    if data is not None:
                        files[member.name.removeprefix("./")] = data.read()
        except tarfile.TarError as error:
            raise LabError(f"the machine's report is empty or cut off ({error})") from error
        return cls(files, seconds)

    def text(self, name: str) -> str:
        if name not in self.files:
            raise LabError(f"the machine did not report {name}; it reported {sorted(self.files)}")
        return self.files[name].decode(errors="replace")

    def lines(self, name: str) -> list[str]:
        return self.text(name).splitlines()

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))

    @property
    def job_exit_code(self) -> int:
        return int(self.text("job-exit-code"))

    def mounts(self) -> dict[str, Mount]:
        """By mount point; of several on one point, the one on top."""
        found = {}
        for line in self.lines("mountinfo"):
            before, after = line.split(" - ", 1)
            fields = before.split(" ")
            fs_type, source, super_options = after.split(" ", 2)
            found[fields[4]] = Mount(
                fields[4],
                fs_type,
                source,
                frozenset(fields[5].split(",")),
                frozenset(super_options.split(",")),
            )
        return found

    def host_keys(self) -> dict[str, str]:
        """Fingerprints of the host's public keys as ssh-keygen -l prints them, by type."""
        found = {}
        for name in self.files:
            if name.startswith("host-keys/"):
                kind, blob = self.text(name).split()[:2]
                digest = hashlib.sha256(base64.b64decode(blob)).digest()
                encoded = base64.b64encode(digest).decode().rstrip("=")
                found[kind.removeprefix("ssh-")] = f"SHA256:{encoded}"
        return found
