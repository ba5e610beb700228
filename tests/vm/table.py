"""The results of one or more runs, as docs/results-vm.md: python -m tests.vm.table REPORT..."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

HEAD = """\
# Results in virtual machines

What the tests in tests/vm and tests/packer last gave, under TCG on two cores that other programs
used as well: seconds are upper bounds. The quick ones run in every `scripts/test`, the others with
`--full`. Made from their JUnit reports, of one run or of several:

```
pytest tests/vm --full --junitxml build/vm/full.xml
python -m tests.vm.table build/vm/full.xml > docs/results-vm.md
```

"""

Row = tuple[str, str, str, float]
"""Module, case, result and seconds."""


def rows(xml: str) -> Iterator[Row]:
    """Each test case in a JUnit report, in its order."""
    for case in ET.fromstring(xml).iter("testcase"):
        result = "passed"
        for child in case:
            if child.tag == "skipped":
                result = f"skipped: {child.get('message')}"
            elif child.tag in ("failure", "error"):
                result = "FAILED"
        module, _, group = case.get("classname", "").partition("test_")[2].partition(".")
        name = case.get("name", "").removeprefix("test_").replace("_", " ")
        if group:
            name = f"{group.removeprefix('Test')}: {name}"
        yield module.replace("_", " "), name, result, float(case.get("time", "0"))


def joined(reports: Iterable[str]) -> list[Row]:
    """The rows of all reports, by subject; of a case that ran twice, the later result."""
    last = {(row[0], row[1]): row for xml in reports for row in rows(xml)}
    subjects = list(dict.fromkeys(subject for subject, _ in last))
    return sorted(last.values(), key=lambda row: subjects.index(row[0]))


def table(reports: Iterable[str]) -> str:
    """The rows in Markdown, with their sum first."""
    found = joined(reports)
    passed = sum(result == "passed" for _, _, result, _ in found)
    skipped = sum(result.startswith("skipped") for _, _, result, _ in found)
    lines = [
        f"{passed} passed, {skipped} skipped, {len(found) - passed - skipped} failed.",
        "",
        "| subject | case | result | seconds |",
        "| --- | --- | --- | ---: |",
    ]
    lines += [f"| {m} | {name} | {result} | {time:.0f} |" for m, name, result, time in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(HEAD + table(Path(name).read_text() for name in sys.argv[1:]), end="")
