"""Where settings come from, and what is said of those that cannot be understood."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import cli, settings
from paranoid_install.errors import SpecError
from paranoid_install.settings import SETTINGS, Given
from paranoid_install.spec import build

_SOURCE_ONLY = {"context", "answers", "dry_run", "as_json", "plain", "version"}


def test_every_setting_is_an_option_and_every_option_a_setting() -> None:
    options = set(inspect.signature(cli.install).parameters) - _SOURCE_ONLY
    assert options == {s.name.replace("-", "_") for s in SETTINGS}


def test_every_setting_is_read_by_the_spec() -> None:
    asked: set[str] = set()

    class Asked(dict[str, Given]):
        def __contains__(self, name: object) -> bool:
            asked.add(str(name))
            return super().__contains__(name)

    build(Asked(disk=Given(("auto",), "--disk")))
    assert asked == {s.name for s in SETTINGS}


def test_flags_win_over_environment_over_kernel_over_answers() -> None:
    sources = [
        settings.from_flags({"disk": ("/dev/a",)}),
        settings.from_environment({"PARANOID_DISK": "/dev/b"}),
        settings.from_kernel("paranoid.disk=/dev/c"),
        settings.parse_answers({"disk": "/dev/d"}, "a.toml"),
    ]
    winners = [settings.merge(*sources[n:])["disk"].values for n in range(4)]
    assert winners == [("/dev/a",), ("/dev/b",), ("/dev/c",), ("/dev/d",)]


def test_a_source_wins_as_a_whole() -> None:
    flags = settings.from_flags({"ssh-key": ("one",)})
    answers = settings.parse_answers({"ssh-key": ["two", "three"]}, "a.toml")
    assert settings.merge(flags, answers)["ssh-key"].values == ("one",)


@pytest.mark.parametrize(
    ("line", "name", "values"),
    [
        ("quiet paranoid.disk=/dev/vda ro", "disk", ("/dev/vda",)),
        ('paranoid.ssh-key="ssh-rsa AAAA me"', "ssh-key", ("ssh-rsa AAAA me",)),
        ('"paranoid.ssh-key=ssh-rsa AAAA"', "ssh-key", ("ssh-rsa AAAA",)),
        ("paranoid.tmpfs_size=2G", "tmpfs-size", ("2G",)),
        ("paranoid.ssh-key=a paranoid.ssh-key=b", "ssh-key", ("a", "b")),
        ("paranoid.generate-root-password", "generate-root-password", ("true",)),
        ("paranoid.disk=serial=X=Y", "disk", ("serial=X=Y",)),
        ("paranoid.disk=auto\n", "disk", ("auto",)),
    ],
)
def test_the_kernel_command_line(line: str, name: str, values: tuple[str, ...]) -> None:
    assert settings.from_kernel(line)[name].values == values


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "paranoid.dsik=/dev/vda",
            "kernel command line paranoid.dsik: 'dsik' is not a setting; did you mean disk?",
        ),
        (
            "paranoid.disk",
            "kernel command line paranoid.disk: has no value; write paranoid.disk=VALUE",
        ),
        (
            "paranoid.disk=a paranoid.disk=b",
            "kernel command line paranoid.disk: is given twice; say it once",
        ),
        (
            "paranoid.zzzzz=1",
            "kernel command line paranoid.zzzzz: 'zzzzz' is not a setting; "
            "see paranoid-install --help",
        ),
    ],
)
def test_a_bad_kernel_command_line_is_said_word_for_word(line: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        settings.from_kernel(line)
    assert (str(caught.value), caught.value.exit_code) == (sentence, 2)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"tmpfs-sise": "2G"}, "a: 'tmpfs-sise' is not a setting; did you mean tmpfs-size?"),
        ({"disk": ["a"]}, "a: disk: is not a string or a whole number; see docs/reference.md"),
        ({"disk": True}, "a: disk: is not a string or a whole number; see docs/reference.md"),
        ({"countdown": 1.5}, "a: countdown: is not a string or a whole number; "
                             "see docs/reference.md"),
        ({"countdown": 16**9999}, "a: countdown: is not a string or a whole number; "
                                  "see docs/reference.md"),
        ({"ssh-key": [1]}, "a: ssh-key: is not a string or a list of strings; "
                           "see docs/reference.md"),
        ({"resume": "yes"}, "a: resume: is not true or false; write it without quotes"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_said_word_for_word(data: dict[str, object], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        settings.parse_answers(data, "a")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"disk = ", "is not TOML"), (b"\xff\xfe", "is not TOML"), (b"a = " + b"[" * 9999, "is not")],
)
def test_an_answer_file_that_is_no_toml(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "answers.toml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        settings.from_answers(str(file))
    assert caught.value.problem.startswith(problem)


def test_an_answer_file_that_is_not_there() -> None:
    with pytest.raises(SpecError, match=r"/none: cannot be read \(No such file or directory\)"):
        settings.from_answers("/none")


def test_a_misspelt_variable_is_not_passed_over() -> None:
    with pytest.raises(SpecError) as caught:
        settings.from_environment({"PARANOID_TMPFS_SISE": "2G"})
    assert str(caught.value) == (
        "PARANOID_TMPFS_SISE: is not a setting; did you mean PARANOID_TMPFS_SIZE?"
    )


def test_a_variable_with_several_lines_is_several_keys() -> None:
    assert settings.from_environment({"PARANOID_SSH_KEY": "a\nb"})["ssh-key"].values == ("a", "b")


_WORDS = st.one_of(
    st.text(max_size=40), st.sampled_from(["auto", "2G", "bios", "true", "/dev/vda", "x" * 5000])
)


@given(st.dictionaries(st.sampled_from([s.name for s in SETTINGS]), _WORDS))
def test_no_values_make_anything_but_a_spec_error(words: dict[str, str]) -> None:
    try:
        build({"disk": Given(("auto",), "x"), **settings.from_flags(
            {name: (value,) for name, value in words.items()})})  # fmt: skip
    except SpecError as error:
        assert error.exit_code == 2  # noqa: PT017 - a valid request is right, too


_PARTS = ["paranoid.", "disk", "=", '"', " ", "resume", "ssh_key", "tmpfs-size", "2G"]


@given(st.text() | st.lists(st.sampled_from(_PARTS)).map("".join))
def test_no_kernel_command_line_makes_anything_but_a_spec_error(line: str) -> None:
    try:
        settings.from_kernel(line)
        settings.kernel_answers_file(line)
    except SpecError as error:
        assert str(error)  # noqa: PT017


_KEYS = st.text(max_size=9) | st.sampled_from([s.name for s in SETTINGS])
_ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)


@given(st.dictionaries(_KEYS, _ATOMS | st.lists(_ATOMS, max_size=3), max_size=4))
def test_no_answers_make_anything_but_a_spec_error(data: dict[str, object]) -> None:
    try:
        settings.parse_answers(data, "a")
    except SpecError as error:
        assert str(error)  # noqa: PT017


_NAMES = st.sampled_from([s.name for s in SETTINGS if len(s.name) > 5])


@given(_NAMES, st.data())
def test_a_slip_of_the_finger_suggests_the_setting_that_was_meant(
    name: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(1, len(name) - 2))
    wrong = data.draw(
        st.sampled_from(
            [
                name[:place] + name[place + 1 :],
                name[:place] + name[place] + name[place:],
                name[:place] + name[place + 1] + name[place] + name[place + 2 :],
            ]
        )
    )
    if wrong in {s.name for s in SETTINGS}:
        return
    with pytest.raises(SpecError) as caught:
        settings.parse_answers({wrong: "x"}, "a")
    assert str(caught.value) == f"a: {wrong!r} is not a setting; did you mean {name}?"
