"""Reports: what counts, what is accepted, and that nothing from the machine acts on the reader."""

from __future__ import annotations

import io
import json
import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install.errors import SpecError
from paranoid_install.ui import findings as ui
from paranoid_install.verify import baseline, compare
from paranoid_install.verify.baseline import Accepted
from paranoid_install.verify.command import VerifyOptions, diff, run
from paranoid_install.verify.ephemeral import is_missed, mortals
from paranoid_install.verify.facts import Machine, Stat
from paranoid_install.verify.html import as_html
from paranoid_install.verify.junit import as_junit
from paranoid_install.verify.registry import BY_ID, CHECKS
from paranoid_install.verify.report import Report, judge, printable
from paranoid_install.verify.sarif import as_sarif
from paranoid_install.verify.terms import Severity, Status
from tests.unit.verify.machines import met, paranoid, piece
from tests.unit.verify.test_gather import Programs

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/verify.schema.json").read_text())
TODAY = date(2026, 11, 26)
HOSTILE = "</code><script>alert(1)</script>\x1b]0;owned\x07\x1b[2J\r\n[red]\udcff\u202e&\"'\x00]]>"
LOOSE = met(setuid=(Stat("/srv/x", 0o4755),))
WILD = met(setuid=(Stat(HOSTILE, 0o4755),))


def report(
    machine: Machine, *accepted: Accepted, level: Severity = Severity.HIGH, host: str = "host"
) -> Report:
    time = datetime(2026, 11, 26, 12, tzinfo=UTC)
    return Report(host, "/", True, time, level, judge(machine, CHECKS, accepted, TODAY))


def accept(name: str, until: str) -> Accepted:
    return Accepted(name, "known", date.fromisoformat(until))


def test_findings_count_from_a_severity_on() -> None:
    machine = piece("programs", frozenset({"nano"}))(paranoid())  # low
    assert not report(machine).failed
    assert report(machine, level=Severity.LOW).failed
    assert report(LOOSE(paranoid())).failed


def test_unknown_is_no_finding_and_no_pass() -> None:
    found = report(Machine())
    assert not found.failed
    assert (found.count(Status.UNKNOWN), found.count(Status.PASS)) == (len(CHECKS), 0)


@pytest.mark.parametrize(
    ("until", "failed", "expired"),
    [("2026-11-26", False, False), ("2026-11-25", True, True), ("2027-01-01", False, False)],
)
def test_an_accepted_finding_counts_again_after_its_last_day(
    until: str, failed: bool, expired: bool
) -> None:
    found = report(LOOSE(paranoid()), accept("users.setuid", until))
    assert found.failed is failed
    (finding,) = [f for f in found.findings if f.check.id == "users.setuid"]
    assert finding.expired is expired
    assert found.accepted == (0 if expired else 1)


def test_what_passes_needs_no_acceptance() -> None:
    assert report(paranoid(), accept("users.setuid", "2027-01-01")).accepted == 0


def test_the_report_is_as_the_schema_has_it() -> None:
    for found in (report(paranoid()), report(Machine()), report(WILD(paranoid())),
                  report(LOOSE(paranoid()), accept("users.setuid", "2027-01-01"))):  # fmt: skip
        jsonschema.validate(found.as_data(), SCHEMA)
    wrong = report(paranoid()).as_data()
    wrong["checks"][0]["status"] = "maybe"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_evidence_is_one_line_without_anything_that_acts() -> None:
    (finding,) = [f for f in report(WILD(paranoid())).findings if f.status is Status.FAIL]
    (line,) = finding.evidence
    assert line.startswith(r"</code><script>alert(1)</script>\x1b]0;owned\x07\x1b[2J\x0d\x0a[red]")
    assert line.isprintable()
    assert printable("plain ünïcode / text") == "plain ünïcode / text"


@given(st.text(st.characters()))
def test_whatever_is_shown_is_printable(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert printable(shown) == shown
    shown.encode("utf-8")


@given(st.text())
def test_no_name_gets_an_element_into_the_page(text: str) -> None:
    tags = Tags()
    tags.feed(
        as_html(report(met(setuid=(Stat(f"{text}<script>", 0o4755),))(paranoid()), host=text))
    )
    assert "script" not in tags.seen


def test_much_evidence_is_cut_and_says_so() -> None:
    many = met(setuid=tuple(Stat(f"/{n}" + "x" * 999, 0o4755) for n in range(80)))
    (finding,) = [f for f in report(many(paranoid())).findings if f.status is Status.FAIL]
    assert len(finding.evidence) == 51
    assert finding.evidence[-1] == "and 30 more"
    assert max(map(len, finding.evidence)) < 500


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_the_page_holds_nothing_that_runs_or_loads() -> None:
    found = report(WILD(paranoid()), Accepted("users.setuid", HOSTILE, TODAY), host=HOSTILE)
    page = as_html(found)
    tags = Tags()
    tags.feed(page)
    assert not tags.seen & {"script", "img", "link", "iframe", "a"}
    assert tags.attributes <= {
        "class",
        "charset",
        "content",
        "data-name",
        "http-equiv",
        "lang",
        "name",
    }
    assert "&lt;script&gt;" in page
    page.encode("utf-8")
    for check in CHECKS:
        assert check.id in page


def test_lines_on_a_pipe_hold_no_escapes() -> None:
    for encoding in ("utf-8", "ascii"):
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, encoding=encoding)
        ui.show(report(WILD(paranoid())), out)
        out.flush()
        assert b"\x1b" not in raw.getvalue()
        assert b"fail     high     users.setuid" in raw.getvalue()
        assert b"[red]" in raw.getvalue()


def test_the_table_on_a_terminal_shows_brackets_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ui, "is_screen", lambda _stream: True)
    monkeypatch.setenv("COLUMNS", "200")
    out = io.StringIO()
    ui.show(report(WILD(paranoid())), out)
    assert "[red]" in out.getvalue()
    assert "\x1b]" not in out.getvalue()
    assert all(check.id in out.getvalue() for check in CHECKS)


def test_sarif_has_a_rule_and_a_result_for_each_check() -> None:
    found = report(WILD(paranoid()), accept("users.setuid", "2027-01-01"))
    data = json.loads(json.dumps(as_sarif(found)))
    (one,) = data["runs"]
    rules, results = one["tool"]["driver"]["rules"], one["results"]
    assert data["version"] == "2.1.0"
    assert [rule["id"] for rule in rules] == [result["ruleId"] for result in results]
    for index, result in enumerate(results):
        assert result["ruleIndex"] == index
        assert result["kind"] in (
            "pass",
            "fail",
            "open",
            "notApplicable",
            "informational",
            "review",
        )
        assert (result["level"] == "none") is (result["kind"] != "fail")
        assert result["message"]["text"]
    (failed,) = [result for result in results if result["kind"] == "fail"]
    assert failed["suppressions"][0]["status"] == "accepted"


def test_junit_is_xml_with_the_counts_it_states() -> None:
    machine = replace(WILD(paranoid()), sshd=Machine().sshd)
    suite = Xml.fromstring(as_junit(report(machine, host=HOSTILE)))
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.attrib["tests"]) == len(CHECKS)
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[name]) == len(suite.findall(f"testcase/{kind}"))
    assert int(suite.attrib["failures"]) == 1


def test_an_acceptance_that_has_ended_is_told_everywhere() -> None:
    found = report(LOOSE(paranoid()), accept("users.setuid", "2020-01-01"))
    (result,) = [r for r in as_sarif(found)["runs"][0]["results"] if r["kind"] == "fail"]
    assert result["suppressions"][0]["status"] == "rejected"
    assert "2020-01-01" in result["suppressions"][0]["justification"]
    failure = Xml.fromstring(as_junit(found)).find("testcase/failure")
    assert failure is not None
    assert "accepted until 2020-01-01; that has ended" in str(failure.text)
    assert "was accepted until 2020-01-01" in as_html(found)


def test_sarif_says_where_and_knows_a_finding_again() -> None:
    def results(machine: Machine) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = as_sarif(report(machine))["runs"][0]["results"]
        return found

    now, later = results(LOOSE(paranoid())), results(WILD(paranoid()))
    prints = [result["partialFingerprints"]["check/v1"] for result in now]
    assert prints == [result["partialFingerprints"]["check/v1"] for result in later]
    assert len(set(prints)) == len(CHECKS)
    (failed,) = [result for result in now if result["kind"] == "fail"]
    place = failed["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert place == "srv/x"
    for result in (*now, *later):
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]


def test_the_page_says_of_what_it_is_and_folds_what_is_long() -> None:
    many = met(setuid=tuple(Stat(f"/{n}", 0o4755) for n in range(20)))
    found = replace(report(many(paranoid())), about=(("kernel", "6.12<1>"), ("run by", "alice")))
    page = as_html(found)
    assert "kernel: 6.12&lt;1&gt;; run by: alice" in page
    assert "Failed: 0 critical, 1 high, 0 medium, 0 low." in page
    assert "<summary>20 lines</summary>" in page


GOOD = '[[accept]]\nid = "users.setuid"\nreason = "old"\nuntil = 2027-01-31\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("users.setuid", "users.setuit"), "is users.setuid meant"),
        (GOOD.replace('"old"', '" "'), "no reason"),
        (GOOD.replace("2027-01-31", '"soon"'), "no date"),
        (GOOD.replace("2027-01-31", "2027-01-31T00:00:00"), "no date"),
        (GOOD.replace("reason", "because"), "not complete"),
        (GOOD + "more = 1\n", "not complete"),
        (GOOD + GOOD, "twice"),
        ("accept = 1", "not a baseline"),
        ("accept = [1]", "not complete"),
        ("[[", "cannot be read"),
        ("", "not a baseline"),
    ],
)
def test_a_baseline_that_is_not_understood_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "baseline.toml"
    file.write_text(text)
    with pytest.raises(SpecError, match=said):
        baseline.load(file, BY_ID)


def test_a_baseline_is_toml_or_json(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD)
    entry = {"id": "users.setuid", "reason": "old", "until": "2027-01-31"}
    (tmp_path / "a.json").write_text(json.dumps({"accept": [entry]}))
    wanted = (Accepted("users.setuid", "old", date(2027, 1, 31)),)
    for name in ("a.toml", "a.json"):
        assert baseline.load(tmp_path / name, BY_ID) == wanted
    with pytest.raises(SpecError, match="cannot be read"):
        baseline.load(tmp_path / "none.toml", BY_ID)


def saved(tmp_path: Path, name: str, found: Report) -> Path:
    file = tmp_path / name
    file.write_text(json.dumps(found.as_data()))
    return file


def test_diff_tells_what_got_worse_and_what_was_mended(tmp_path: Path) -> None:
    good, bad = (
        saved(tmp_path, "a", report(paranoid())),
        saved(tmp_path, "b", report(LOOSE(paranoid()))),
    )
    worst = saved(
        tmp_path, "c", report(met(setuid=(Stat("/srv/x", 0o4755), Stat("/y", 0o4755)))(paranoid()))
    )
    for before, after, code, mark in ((good, bad, 8, "worse: users.setuid (high): pass -> fail"),
                                      (bad, good, 0, "changed: users.setuid (high): fail -> pass"),
                                      (bad, worst, 8, "  + /y"),
                                      (worst, bad, 0, "  - /y"),
                                      (good, good, 0, "no change")):  # fmt: skip
        out = io.StringIO()
        assert diff(before, after, ui, out=out) == code
        assert mark in out.getvalue()
    assert diff(good, bad, ui, fail_on=Severity.CRITICAL, out=io.StringIO()) == 0


def test_diff_in_json_names_each_change(tmp_path: Path) -> None:
    a, b = saved(tmp_path, "a", report(paranoid())), saved(tmp_path, "b", report(LOOSE(paranoid())))
    out = io.StringIO()
    diff(a, b, ui, as_json=True, out=out)
    (change,) = json.loads(out.getvalue())
    assert (change["id"], change["worse"], change["gone"]) == ("users.setuid", True, [])


def test_diff_sees_a_check_that_is_new_and_one_whose_acceptance_ended(tmp_path: Path) -> None:
    data = report(LOOSE(paranoid())).as_data()
    before = {**data, "checks": [c for c in data["checks"] if c["id"] != "users.setuid"]}
    (change,) = compare.compare(before, data)
    assert (change.before, change.after, change.worse) == ("not there", "fail", True)
    accepted = report(LOOSE(paranoid()), accept("users.setuid", "2027-01-01")).as_data()
    (change,) = compare.compare(accepted, data)
    assert (change.before, change.worse) == ("accepted", True)


@pytest.mark.parametrize(
    "data", ["{", "[]", '{"version": 9, "checks": []}', '{"version": 1}',
             '{"version": 1, "checks": [{"id": 1}]}'],
)  # fmt: skip
def test_diff_refuses_what_is_no_report(tmp_path: Path, data: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(data)
    with pytest.raises(SpecError, match=r"x\.json"):
        compare.load(file)


def test_the_command_writes_every_form_and_answers_with_its_exit_code(tmp_path: Path) -> None:
    root = tmp_path / "mnt"
    (root / "nix/persist/etc/ssh").mkdir(parents=True)
    options = VerifyOptions(
        root, sarif=tmp_path / "s", junit=tmp_path / "j", html=tmp_path / "h", as_json=True
    )
    out = io.StringIO()
    assert run(options, Programs(), ui, out) == 8
    data: dict[str, Any] = json.loads(out.getvalue())
    jsonschema.validate(data, SCHEMA)
    assert (data["live"], data["host"]) == (False, str(root))
    assert json.loads((tmp_path / "s").read_text())["runs"]
    assert Xml.fromstring((tmp_path / "j").read_text()).tag == "testsuite"
    assert (tmp_path / "h").read_text().startswith("<!doctype html>")
    failed = [c["id"] for c in data["checks"] if c["status"] == "fail"]
    accepted = "".join(GOOD.replace("users.setuid", name) for name in failed)
    (tmp_path / "b.toml").write_text(accepted)
    options = replace(options, baseline=tmp_path / "b.toml")
    assert run(options, Programs(), ui, io.StringIO()) == 0


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not a directory"):
        run(VerifyOptions(tmp_path / "none"), Programs(), ui)
    with pytest.raises(SpecError, match="cannot be written"):
        run(VerifyOptions(tmp_path, html=tmp_path / "none/x"), Programs(), ui, io.StringIO())


def test_what_dies_at_the_next_boot_is_told_largest_first(tmp_path: Path) -> None:
    for name, size in (("root/notes", 5000), ("etc/passwd", 9000), ("srv/big", 90000),
                       ("etc/ssh/key", 4000)):  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("srv/big")
    found = mortals(tmp_path)
    names = [file.path.removeprefix(f"{tmp_path}/") for file in found.files]
    assert names == ["srv/big", "root/notes", "etc/ssh/key"]
    assert found.complete
    assert found.size >= 99000
    out = io.StringIO()
    assert run(VerifyOptions(tmp_path, ephemeral=True), Programs(), ui, out) == 0
    assert "in 3 files die at the next boot" in out.getvalue()
    out = io.StringIO()
    run(VerifyOptions(tmp_path, ephemeral=True, as_json=True), Programs(), ui, out)
    assert json.loads(out.getvalue())["size"] == found.size


def test_what_nixos_makes_anew_is_not_missed() -> None:
    assert not is_missed("/etc/passwd")
    assert is_missed("/etc/ssh/ssh_host_rsa_key")
    assert is_missed("/etcetera")
    assert is_missed("/home/alice/x")
