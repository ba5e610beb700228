"""Running a plan: whatever the way out, all that was taken is given back, and the code says so."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from paranoid_install import engine, outside
from paranoid_install.actions import Machine, Run
from paranoid_install.errors import InstallError, Refusal, RefusedError, StepError
from paranoid_install.journal import Event
from paranoid_install.plan import Plan, Step, make
from paranoid_install.runner import Runner
from paranoid_install.signals import Interrupted, Signals
from paranoid_install.survey import POLICY
from tests.unit.samples import BLANK, Recorder, acting, failed, installing, machine_found, request

_SCHEMA = Path(__file__).parents[2] / "docs/events.schema.json"


def wait_by_runner(runner: Runner, paths: tuple[str, ...], _seconds: int = 15) -> None:
    runner.run("udevadm", "wait", *paths)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The whole plan for an image file, its root a plain directory."""
    monkeypatch.setattr("paranoid_install.disks.wait_for_nodes", wait_by_runner)
    image = replace(BLANK, path=str(tmp_path / "x.img"), kind="image", size=4 * 1024**3,
                    serial="", wwn="", model="")  # fmt: skip
    monkeypatch.setattr("paranoid_install.actions.disk.file_of_loop", lambda _device: image.path)
    root = str(tmp_path / "root")
    modules = tmp_path / "modules"
    modules.mkdir()
    digests = {path: outside.digest(path) for path in (str(modules), POLICY)}
    found = machine_found(image, memory=None, modules=str(modules), digests=digests)
    return make(request(root=root, then="poweroff"), found)


@pytest.fixture
def recorder(plan: Plan) -> Recorder:
    return installing(Path(plan.root))


def balance(calls: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """What was taken and not given back, by what succeeded, in order."""
    held: list[tuple[str, ...]] = []
    for argv in calls:
        match argv:
            case ("mount", *_, target):
                held.append(("mount", target))
            case ("losetup", "--find", *_):
                held.append(("losetup", "/dev/loop7"))
            case ("umount", target):
                assert held.pop() == ("mount", target)
            case ("losetup", "--detach", device):
                assert held.pop() == ("losetup", device)
    return held


def test_every_command_of_the_plan_runs_in_order_and_nothing_else(
    plan: Plan, recorder: Recorder
) -> None:
    machine, _ = acting(recorder)
    engine.run(plan, machine)
    shown = [machine.device(a.line) for s in plan.steps for a in s.actions]
    declared = [part for line in shown for part in line.split("  #")[0].split(" && ")]
    reads = {
        ("nix-instantiate", "--eval"),
        ("ssh-keygen", "-l"),
        ("partx", "--update"),
        ("blkid", "--probe"),
    }
    ran = [shlex.join(argv) for argv in recorder.calls if argv[:2] not in reads]
    ran = [line.replace("udevadm wait", "udevadm wait --settle") for line in ran]
    left = iter(declared)
    for line in ran:
        assert any(d.endswith(line) for d in left), f"not in the plan, or out of order: {line}"
    programs = {p for s in plan.steps for a in s.actions for p in a.programs}
    assert {argv[0] for argv in recorder.calls} <= programs | {"udevadm"}
    assert sum(isinstance(a, Run) for s in plan.steps for a in s.actions) <= len(ran)


def test_the_lines_shown_by_dry_run_are_those_the_journal_has(
    plan: Plan, recorder: Recorder
) -> None:
    machine, events = acting(recorder)
    data = json.loads(json.dumps(plan.as_data()))
    engine.run(plan, machine)
    done = [e.data["line"] for e in events if e.kind == "action"]
    shown = [machine.device(a["line"]) for s in data["steps"] for a in s["actions"]]
    # The loop device has no number before it is attached.
    assert [machine.device(str(line)) for line in done] == shown


def test_after_a_whole_run_nothing_is_held(plan: Plan, recorder: Recorder) -> None:
    machine, events = acting(recorder)
    engine.run(plan, machine)
    assert balance(recorder.calls) == []
    assert all(e.data["planned"] for e in events if e.kind == "release")
    assert recorder.calls[-1] == ("systemctl", "--no-block", "poweroff")
    assert 30 < len(recorder.calls) < 60, "the tests of failures must try every command"


def test_the_stop_that_the_power_off_brings_does_not_interrupt_the_last_words(
    plan: Plan, recorder: Recorder
) -> None:
    machine, events = acting(recorder)
    recorder.effects = {
        **recorder.effects,
        "systemctl": lambda _argv: os.kill(os.getpid(), signal.SIGTERM),
    }
    with machine.signals.raised():
        engine.run(plan, machine)
    assert recorder.calls[-1] == ("systemctl", "--no-block", "poweroff")
    assert events[-1].data["state"] == "done"


# A whole run has fewer commands (see below): the last numbers show that none is left out.
@pytest.mark.parametrize("number", range(60))
def test_a_failure_of_any_command_releases_all_and_says_what_was_touched(
    plan: Plan, recorder: Recorder, number: int
) -> None:
    succeeded: list[tuple[str, ...]] = []

    def fail(count: int, argv: tuple[str, ...]) -> InstallError | None:
        if count == number:
            return failed(*argv)
        succeeded.append(argv)
        return None

    recorder.fail = fail
    machine, events = acting(recorder)
    if not _fails(lambda: engine.run(plan, machine), number, recorder):
        return
    failing = recorder.calls[number]
    if failing[0] in ("umount",) or failing[:2] == ("losetup", "--detach"):
        # The plan's own unmount failed once; the second try succeeded.
        assert recorder.calls[number + 1] == failing
    assert balance(succeeded) == []
    assert [e.data["state"] for e in events if e.kind == "step"][-1] == "failed"


def _fails(act: Callable[[], None], number: int, recorder: Recorder) -> bool:
    """Whether the command came to run; then the error must be a StepError with all in it."""
    try:
        act()
    except StepError as caught:
        error = caught
        if error.step == "select":
            assert error.code == 4
            return False
    else:
        # Tried again another way.
        again = number < len(recorder.calls) and "--readonly-mode" in recorder.calls[number]
        assert again or number >= len(recorder.calls), "a failed command was swallowed"
        return False
    assert error.code == 5, "the image has been made: the disk is touched"
    assert error.tail == ("its last words",)
    assert error.report()[0].startswith(f"error: step {error.step}: ")
    assert "exit code 9" in error.report()[0]
    sentence = "may boot already" if error.step in {"install", "finish"} else "does not boot"
    assert any(f"  the disk was changed, and {sentence}" in line for line in error.report())
    return True


@pytest.mark.parametrize("number", range(0, 45, 2))
def test_a_signal_at_any_command_releases_all(plan: Plan, recorder: Recorder, number: int) -> None:
    succeeded: list[tuple[str, ...]] = []

    def fail(count: int, argv: tuple[str, ...]) -> BaseException | None:
        if count == number:
            return Interrupted(signal.SIGTERM)
        succeeded.append(argv)
        return None

    recorder.fail = fail
    machine, _ = acting(recorder)
    try:
        engine.run(plan, machine)
    except Interrupted as error:
        assert error.exit_code == 143  # noqa: PT017
        assert balance(succeeded) == []
    else:
        assert number >= len(recorder.calls)


def test_what_cannot_be_released_is_listed_and_the_rest_released(
    plan: Plan, recorder: Recorder
) -> None:
    stuck = f"{plan.root}/nix"
    recorder.fail = lambda _n, argv: (
        failed(*argv) if argv[0] == "nixos-install" or argv == ("umount", stuck) else None
    )
    machine, events = acting(recorder)
    Path(stuck).mkdir(parents=True)
    with pytest.raises(StepError) as caught:
        engine.run(plan, machine)
    assert caught.value.code == 6
    assert [line.split(" (")[0] for line in caught.value.unreleased] == [f"umount {stuck}"]
    assert recorder.calls[-1] == ("losetup", "--detach", "/dev/loop7")
    assert [e.kind for e in events if "could not be released" in str(e.data)] == ["warning"]


@dataclass(frozen=True)
class Probe:
    """An action for these tests alone."""

    line: str
    effect: Callable[[], None] = lambda: None
    undo: Probe | None = None
    programs: tuple[str, ...] = ()
    lasts: bool = True

    def apply(self, machine: Machine) -> None:
        self.effect()


@dataclass
class Log:
    """What happened, and actions that add to it."""

    lines: list[str] = field(default_factory=list)

    def action(self, name: str, error: BaseException | None = None) -> Probe:
        def effect() -> None:
            if error is not None:
                raise error
            self.lines.append(name)

        return Probe(name, effect, Probe(f"undo {name}", lambda: self.lines.append(f"undo {name}")))


def of(*steps: Step) -> Plan:
    return Plan({"path": "/dev/vda"}, "bios", "2G", "/mnt", steps)


@pytest.mark.parametrize(
    ("destructive", "error", "code"),
    [
        (False, failed("x"), 4),
        (True, failed("x"), 5),
        (False, OSError("disk on fire"), 4),
        (True, OSError("disk on fire"), 5),
        (True, RefusedError("x", (Refusal("r", "p"),)), 5),
    ],
)
def test_the_exit_code_answers_whether_the_disk_was_touched(
    destructive: bool, error: Exception, code: int
) -> None:
    log = Log()
    step = Step("one", "", (log.action("a"), log.action("b", error)), destructive)
    with pytest.raises(StepError) as caught:
        engine.run(of(step), acting(Recorder())[0])
    assert caught.value.code == code
    assert log.lines == ["a", "undo a"]


def test_what_nobody_has_foreseen_is_a_failed_step_too_and_its_traceback_is_kept() -> None:
    log = Log()
    step = Step("one", "", (log.action("a"), log.action("b", ZeroDivisionError("x"))), True)
    with pytest.raises(StepError, match="this is a bug in paranoid-install") as caught:
        engine.run(of(step), acting(Recorder())[0])
    kept = Path(caught.value.log)
    assert "ZeroDivisionError: x" in kept.read_text()
    kept.unlink()
    assert caught.value.code == 5
    assert caught.value.as_data()["log"] == str(kept)
    assert log.lines == ["a", "undo a"]


def test_an_undo_that_fails_as_nobody_has_foreseen_keeps_no_other_from_its_turn() -> None:
    log = Log()

    def fail() -> None:
        raise ZeroDivisionError

    stuck = replace(log.action("b"), undo=Probe("undo b", fail))
    step = Step("one", "", (log.action("a"), stuck, log.action("c", failed("x"))), True)
    with pytest.raises(StepError) as caught:
        engine.run(of(step), acting(Recorder())[0])
    assert (caught.value.code, log.lines) == (6, ["a", "b", "undo a"])


def test_a_refusal_before_destruction_stays_a_refusal() -> None:
    log = Log()
    refusal = RefusedError("x", (Refusal("r", "p"),))
    steps = Step("guard", "", (log.action("a", refusal),)), Step("p", "", (log.action("b"),), True)
    with pytest.raises(RefusedError):
        engine.run(of(*steps), acting(Recorder())[0])
    assert log.lines == []


def test_the_last_moment_is_before_the_last_look_at_the_disk_and_once() -> None:
    log = Log()
    steps = [Step(n, "", (log.action(n),), n in "bc") for n in "abcd"]
    engine.run(of(*steps), acting(Recorder())[0], lambda step: log.lines.append(f"? {step.id}"))
    assert log.lines == ["? b", "a", "b", "c", "d"]


def test_stopping_the_countdown_leaves_the_disk_untouched() -> None:
    log = Log()

    def stop(_step: Step) -> None:
        raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        engine.run(of(Step("b", "", (log.action("b"),), True)), acting(Recorder())[0], stop)
    assert (log.lines, caught.value.exit_code) == ([], 130)


def test_the_journal_has_an_action_and_its_undo_before_it_acts() -> None:
    machine, events = acting(Recorder())
    seen: list[Event] = []
    step = Step("s", "", (Probe("act", lambda: seen.append(events[-1]), Probe("take back")),))
    engine.run(of(step), machine)
    assert seen[0].kind == "action"
    assert seen[0].data["undo"] == {"action": "Probe", "line": "take back"}


@pytest.fixture
def signals() -> Iterator[Signals]:
    watched = Signals()
    with watched.raised():
        yield watched


def test_a_signal_raises_at_once(signals: Signals) -> None:
    with pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), signal.SIGHUP)
    assert caught.value.exit_code == 129


def test_a_signal_in_a_shield_waits_for_its_end(signals: Signals) -> None:
    reached = []
    with pytest.raises(Interrupted), signals.shield():  # noqa: PT012
        with signals.shield():
            os.kill(os.getpid(), signal.SIGTERM)
        reached.append("the outer shield still holds")
    assert reached


def test_an_error_in_a_shield_is_not_hidden_by_the_signal(signals: Signals) -> None:
    with pytest.raises(OSError, match="first"), signals.shield():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("first")


def test_the_handlers_of_before_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals().raised():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_during_an_action_with_an_undo_comes_after_the_note_of_it(
    signals: Signals,
) -> None:
    log = Log()
    machine = replace(acting(Recorder())[0], signals=signals)
    taking = log.action("a")

    def take_and_be_hit() -> None:
        taking.effect()
        os.kill(os.getpid(), signal.SIGTERM)

    hit = replace(taking, effect=take_and_be_hit)
    with pytest.raises(Interrupted):
        engine.run(of(Step("s", "", (hit, log.action("b")))), machine)
    assert log.lines == ["a", "undo a"]


def test_a_signal_during_release_waits_until_all_is_released(signals: Signals) -> None:
    log = Log()
    machine = replace(acting(Recorder())[0], signals=signals)
    first = log.action("a")
    second = replace(
        log.action("b"), undo=Probe("undo b", lambda: os.kill(os.getpid(), signal.SIGINT))
    )
    with pytest.raises(StepError) as caught:
        engine.run(of(Step("s", "", (first, second, log.action("c", OSError())))), machine)
    assert caught.value.unreleased == ()
    assert log.lines == ["a", "b", "undo a"]


def test_the_events_of_a_whole_run_are_as_documented(plan: Plan, recorder: Recorder) -> None:
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    machine, events = acting(recorder)
    machine.journal.emit("plan", **plan.as_data())
    engine.run(plan, machine)
    error = StepError("format", failed("mkfs.ext4"), touched=True)
    refused = RefusedError("x", (Refusal("r", "p"),), (("/dev/vda", (Refusal("r", "p"),)),))
    machine.journal.emit("error", **error.as_data())
    machine.journal.emit("error", **refused.as_data())
    assert {e.kind for e in events} >= {"plan", "step", "action", "fact", "error"}
    for event in events:
        validator.validate(json.loads(event.as_json()))


def test_the_schema_refuses_what_is_not_documented() -> None:
    validator = Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))
    assert not validator.is_valid({"event": "unheard", "time": 1.0})
    assert not validator.is_valid({"event": "fact", "time": 1.0, "name": "x"})
