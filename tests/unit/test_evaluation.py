"""What is built after the wipe is evaluated before it, as it will be on the target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paranoid_install.actions import EvaluateFlake, EvaluateSystem
from paranoid_install.configuration import file_systems
from paranoid_install.errors import CommandFailed, RefusedError
from paranoid_install.layout import layout
from paranoid_install.plan import Plan, make
from paranoid_install.systems import System
from tests.unit.samples import Recorder, acting, machine_found, request

# The end of what nix-instantiate says of a NixOS with two assertions that fail.
SAID = (
    "       (stack trace truncated; use '--show-trace' to show the full, detailed trace)",
    "       error:",
    "       Failed assertions:",
    "       - this machine has no name",
    "       - and no disk",
    "(use '--show-trace' to show detailed location information)",
)


def first_of(plan: Plan) -> list[object]:
    select = plan.steps[0]
    assert select.id == "select"
    return list(select.actions)


def failing(*tail: str, program: str = "nix-instantiate") -> Recorder:
    def fail(_number: int, argv: tuple[str, ...]) -> BaseException | None:
        return CommandFailed(argv, "exit code 1", 1, tail) if argv[0] == program else None

    return Recorder(fail=fail)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    directory = tmp_path / "given"
    directory.mkdir()
    (directory / "configuration.nix").write_text("given", encoding="utf-8")
    return directory


def looking(see: Callable[[Path], None]) -> Recorder:
    """A recorder that shows the directory that is evaluated."""

    def instantiate(argv: tuple[str, ...]) -> None:
        see(Path(argv[-1].removeprefix("nixos-config=")).parent)

    return Recorder({"nixos-generate-config": "{ modules = 1; }\n"},
                    {"nix-instantiate": instantiate})  # fmt: skip


def test_it_is_laid_out_as_it_will_be_on_the_target(given: Path) -> None:
    seen: dict[str, str] = {}

    def see(directory: Path) -> None:
        files = (file for file in directory.rglob("*") if file.is_file())
        seen.update({str(f.relative_to(directory)): f.read_text() for f in files})

    recorder = looking(see)
    machine, _ = acting(recorder)
    copies = ((str(given), "paranoid"),)
    EvaluateSystem(copies, "{ ... }: { }", "{ }").apply(machine)
    assert seen == {
        ".generated.nix": "{ modules = 1; }\n",
        "hardware-configuration.nix": (
            "{\n  imports = [ ./.generated.nix ];\n  fileSystems = { };\n}\n"
        ),
        "configuration.nix": "{ ... }: { }",
        "paranoid/configuration.nix": "given",
    }
    assert recorder.calls[0] == (
        "nixos-generate-config", "--no-filesystems", "--show-hardware-config",
    )  # fmt: skip


def test_what_a_configuration_brings_of_its_own_wins_as_on_the_target(given: Path) -> None:
    (given / "hardware-configuration.nix").write_text("own", encoding="utf-8")
    seen: list[str] = []
    recorder = looking(lambda d: seen.append((d / "hardware-configuration.nix").read_text()))
    machine, _ = acting(recorder)
    EvaluateSystem(((str(given), ""),), "", "{ }").apply(machine)
    assert seen == ["own"]


def test_an_assertion_that_fails_is_named_and_refused(given: Path) -> None:
    machine, _ = acting(failing(*SAID))
    with pytest.raises(RefusedError) as caught:
        EvaluateSystem(((str(given), ""),), "", "{ }").apply(machine)
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "what is to be built: does not evaluate: Failed assertions: - this machine has no name "
        "- and no disk; mend it"
    )


def test_what_is_built_for_an_evaluation_is_no_reason_to_refuse(given: Path) -> None:
    recorder = Recorder(
        fail=lambda _n, argv: CommandFailed(argv, "x", 1) if "--readonly-mode" in argv else None
    )
    machine, _ = acting(recorder)
    EvaluateSystem(((str(given), ""),), "", "{ }").apply(machine)
    first, second = recorder.calls[-2:]
    assert tuple(word for word in first if word != "--readonly-mode") == second


def test_what_says_nothing_is_refused_as_well(given: Path) -> None:
    machine, _ = acting(failing())
    with pytest.raises(RefusedError, match="does not evaluate: exit code 1"):
        EvaluateSystem(((str(given), ""),), "", "{ }").apply(machine)


def test_a_flake_is_evaluated_by_its_name() -> None:
    recorder = Recorder()
    machine, _ = acting(recorder)
    EvaluateFlake("/f#a.b").apply(machine)
    (argv,) = recorder.calls
    assert argv[-1] == '/f#nixosConfigurations."a.b".config.system.build.toplevel.drvPath'
    for reference in ("/f", "/f#"):
        with pytest.raises(RefusedError, match="names no configuration"):
            EvaluateFlake(reference).apply(machine)


def test_it_comes_first_of_all_and_only_for_what_is_built_here() -> None:
    (action,) = first_of(make(request(), machine_found()))
    assert isinstance(action, EvaluateSystem)
    assert [place for _, place in action.copies] == ["paranoid", "paranoid/policy"]
    (action,) = first_of(make(request(config="/c"), machine_found()))
    assert isinstance(action, EvaluateSystem)
    assert (action.copies, action.text) == ((("/c", ""),), "")
    (action,) = first_of(make(request(flake="/f#a"), machine_found()))
    assert action == EvaluateFlake("/f#a")
    system = System("/nix/store/x", (), {})
    assert first_of(make(request(), machine_found(system=system))) == []


def test_the_file_systems_are_those_that_the_plan_makes() -> None:
    said = file_systems(layout("uefi"), "2G")
    assert '"/" = { device = "none"; fsType = "tmpfs"; options = [ "size=2G" "mode=755"' in said
    assert '"/boot" = { device = "/dev/disk/by-label/boot"; fsType = "vfat";' in said
    assert '"/nix" = { device = "/dev/disk/by-label/nix"; fsType = "ext4";' in said
