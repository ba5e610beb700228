"""The results of a run as the table in docs/results-vm.md.

pytest tests/vm --full --junitxml build/vm/full.xml
python -m tests.vm.table build/vm/full.xml
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path


def rows(xml: str) -> Iterator[tuple[str, str, str, float]]:
    """Module, case, result and seconds of each test case in a JUnit report, in its order."""
    for case in ET.fromstring(xml).iter("testcase"):
        found = {child.tag for child in case}
        result = "passed"
        for tag, word in (("skipped", "skipped"), ("failure", "FAILED"), ("error", "FAILED")):
            if tag in found:
                result = word
        module = case.get("classname", "").rpartition(".")[2].removeprefix("test_")
        name = case.get("name", "").removeprefix("test_").replace("_", " ")
        yield module.replace("_", " "), name, result, float(case.get("time", "0"))


def table(xml: str) -> str:
    """The rows in Markdown, with their sum first."""
    found = list(rows(xml))
    passed = sum(result == "passed" for _, _, result, _ in found)
    lines = [
        f"{passed} of {len(found)} passed.",
        "",
        "| subject | case | result | seconds |",
        "| --- | --- | --- | ---: |",
    ]
    lines += [f"| {m} | {name} | {result} | {time:.0f} |" for m, name, result, time in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(Path(sys.argv[1]).read_text()), end="")
