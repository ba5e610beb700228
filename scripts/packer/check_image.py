"""Names a disk image that a guest has installed, or fails: called by qemu.pkr.hcl.

    check_image.py IMAGE NAME CONSOLE

The guest's own word is its install record: it is written last, when the boot loader is in place.
If IMAGE holds one, and no identity that copies would share, IMAGE becomes NAME.raw, and NAME.qcow2
and NAME.json (the record) are made beside it. Else the exit code is 1 and the end of the guest's
console is shown. Needs parted, debugfs and qemu-img; nothing is mounted.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

POLICY = Path(__file__).parents[2] / "installer/paranoid_install/policy/layout.toml"
CONSOLE_LINES = 40

_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class CheckError(Exception):
    """The image is not what it should be; the text says why."""


def main(image: Path, name: Path, console: Path) -> int:
    policy = tomllib.loads(POLICY.read_text(encoding="utf-8"))
    try:
        record = checked(image, policy)
    except CheckError as error:
        print(f"error: {image}: {error}; the end of {console}:", file=sys.stderr)
        for line in tail(console):
            print(f"  {line}", file=sys.stderr)
        return 1
    raw, qcow2 = name.with_name(f"{name.name}.raw"), name.with_name(f"{name.name}.qcow2")
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(image), str(qcow2))
    name.with_name(f"{name.name}.json").write_text(json.dumps(record, indent=2) + "\n")
    image.rename(raw)
    print(f"{raw}, {qcow2}: {record['toplevel']}, installed {record['finished']}")
    return 0


def checked(image: Path, policy: dict[str, Any]) -> dict[str, Any]:
    """The install record of a sealed image. Raises CheckError for any other."""
    mount_point = policy["nix"]["mountPoint"]

    def read(path: str) -> str:
        """A file's text; empty where it is not, for debugfs(8) ends with 0 whatever happened."""
        below = path.removeprefix(mount_point)
        return run("debugfs", "-R", f"cat {below}", f"{image}?offset={start}")

    start = nix_start(image)
    try:
        record = json.loads(read(f"{policy['persist']['record']}/record.json"))
    except ValueError:
        raise CheckError("no install record is on it: the installation failed") from None
    if not isinstance(record, dict) or not record.get("finished"):
        raise CheckError("its install record does not say that the installation was finished")
    if record.get("sealed") is not True:
        raise CheckError("it is not sealed, and all copies would be one machine; say --seal")
    identity = [key["path"] for key in policy["hostKeys"]]
    identity += [policy["persist"]["root"] + file for file in policy["persist"]["files"]]
    found = [path for path in identity if read(path)]
    if found:
        raise CheckError(f"it is sealed, and yet holds {', '.join(found)}")
    return record


def nix_start(image: Path) -> int:
    """The byte at which the second partition begins, which is the one with the store."""
    try:
        table = run("parted", "--machine", "--script", str(image), "unit", "B", "print")
    except subprocess.CalledProcessError:
        raise CheckError("no partition table is on it: the installation failed") from None
    for line in table.splitlines():
        number, _, rest = line.partition(":")
        if number == "2":
            return int(rest.split("B")[0])
    raise CheckError("it has no second partition: the installation failed")


def tail(console: Path) -> list[str]:
    """The last lines of the console, without what a terminal would act on."""
    if not console.exists():
        return ["(it is not there)"]
    text = _ESCAPE.sub("", console.read_text(encoding="utf-8", errors="replace"))
    lines = ["".join(c for c in line if c.isprintable()) for line in text.splitlines()]
    return [line for line in lines if line.strip()][-CONSOLE_LINES:]


def run(*argv: str) -> str:
    """A program's output. Raises CalledProcessError."""
    done = subprocess.run(  # noqa: S603 - the arguments are this script's own
        argv, capture_output=True, encoding="utf-8", errors="replace", check=True
    )
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*map(Path, sys.argv[1:])))
