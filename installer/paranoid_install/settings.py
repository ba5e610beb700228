"""Where settings come from: flags, environment, kernel command line, answer file, in that order."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paranoid_install import outside
from paranoid_install.errors import SpecError

PREFIX_ENVIRONMENT = "PARANOID_"
PREFIX_KERNEL = "paranoid."


@dataclass(frozen=True)
class Setting:
    """One thing that the operator may say, by the long option's name without its dashes."""

    name: str
    flag: bool = False
    many: bool = False


SETTINGS = (
    Setting("disk"),
    Setting("image-size"),
    Setting("tmpfs-size"),
    Setting("root"),
    Setting("firmware"),
    Setting("wipe"),
    Setting("system", many=True),
    Setting("config"),
    Setting("flake"),
    Setting("hostname"),
    Setting("ssh-key", many=True),
    Setting("generate-root-password", flag=True),
    Setting("root-password-hash-file"),
    Setting("skip-login-check", flag=True),
    Setting("seal", flag=True),
    Setting("no-verify", flag=True),
    Setting("plan-hash"),
    Setting("resume", flag=True),
    Setting("wait-for-disk"),
    Setting("countdown"),
    Setting("then"),
)

# Also PARANOID_…, but about where things are on this machine, not about the install.
_OTHER_VARIABLES = frozenset({"PARANOID_ANSWERS", "PARANOID_MODULES"})


@dataclass(frozen=True)
class Given:
    """What one source said of one setting: its words, and the source's name for messages."""

    values: tuple[str, ...]
    source: str


Answers = Mapping[str, Given]


def merge(*sources: Answers) -> dict[str, Given]:
    """One answer a setting: the first source that says anything of it wins as a whole."""
    merged: dict[str, Given] = {}
    for source in sources:
        for name, given in source.items():
            merged.setdefault(name, given)
    return merged


def from_flags(flags: Mapping[str, tuple[str, ...]]) -> dict[str, Given]:
    """What the command line says, by setting; names without a value were not given."""
    return {name: Given(values, f"--{name}") for name, values in flags.items() if values}


def from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """What PARANOID_… variables say. Raises SpecError for one that looks like a misspelt one."""
    found = {}
    names = {PREFIX_ENVIRONMENT + s.name.upper().replace("-", "_"): s for s in SETTINGS}
    for variable, value in environ.items():
        if variable in names:
            setting = names[variable]
            values = tuple(value.splitlines()) if setting.many else (value,)
            found[setting.name] = Given(values, variable)
        elif variable.startswith(PREFIX_ENVIRONMENT) and variable not in _OTHER_VARIABLES:
            near = difflib.get_close_matches(variable, names, 1, 0.85)
            if near:
                raise SpecError(variable, "is not a setting", f"did you mean {near[0]}?")
    return found


def from_kernel(line: str) -> dict[str, Given]:
    """What `paranoid.…` parameters of the kernel command line say.

    Double quotes protect spaces, and `-` and `_` are the same letter, as everywhere in that
    line (the kernel's lib/cmdline.c and kernel/params.c). Raises SpecError for a name that is no
    setting, and for one that is said twice.
    """
    found: dict[str, Given] = {}
    names = {setting.name: setting for setting in SETTINGS}
    for word in _kernel_words(line):
        name, equals, value = word.partition("=")
        if not name.startswith(PREFIX_KERNEL):
            continue
        source = f"kernel command line {name}"
        key = name.removeprefix(PREFIX_KERNEL).replace("_", "-")
        if key == "answers":  # read by whoever looks for the answer file
            continue
        if key not in names:
            raise _unknown(source, key, names)
        setting = names[key]
        if not equals and not setting.flag:
            raise SpecError(source, "has no value", f"write {name}=VALUE")
        if key in found and not setting.many:
            raise SpecError(source, "is given twice", "say it once")
        earlier = found[key].values if key in found else ()
        found[key] = Given((*earlier, value if equals else "true"), source)
    return found


def kernel_answers_file(line: str) -> str | None:
    """The answer file that the kernel command line names as `paranoid.answers=`."""
    for word in _kernel_words(line):
        name, _, value = word.partition("=")
        if name == PREFIX_KERNEL + "answers" and value:
            return value
    return None


def from_answers(path: str) -> dict[str, Given]:
    """What an answer file says. Raises SpecError for an unreadable file and an unknown key."""
    try:
        data = tomllib.loads(outside.read_text(path))
    except OSError as error:
        raise SpecError(path, f"cannot be read ({error.strerror})", "check the path") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(
            path, f"is not TOML ({error})", "see docs/reference.md for its form"
        ) from error
    return parse_answers(data, path)


def parse_answers(data: Mapping[str, object], path: str) -> dict[str, Given]:
    """The values of an answer file as `Given`s; the file's form is the long options' names."""
    found = {}
    names = {setting.name: setting for setting in SETTINGS}
    for key, value in data.items():
        if key not in names:
            raise _unknown(path, key, names)
        found[key] = Given(_answer(names[key], value, f"{path}: {key}"), f"{path}: {key}")
    return found


def _answer(setting: Setting, value: object, source: str) -> tuple[str, ...]:
    if setting.flag:
        if not isinstance(value, bool):
            raise SpecError(source, "is not true or false", "write it without quotes")
        return ("true" if value else "false",)
    if setting.many and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if isinstance(value, str):
        return (value,)
    # A longer number means nothing here, and Python refuses to print one of 4,300 digits.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return (str(value),)
    form = "a string or a list of strings" if setting.many else "a string or a whole number"
    raise SpecError(source, f"is not {form}", "see docs/reference.md")


def _unknown(source: str, key: str, names: Iterable[str]) -> SpecError:
    near = difflib.get_close_matches(key, list(names), 1)
    remedy = f"did you mean {near[0]}?" if near else "see paranoid-install --help"
    return SpecError(source, f"{key!r} is not a setting", remedy)


def _kernel_words(line: str) -> list[str]:
    words, word, quoted = [], "", False
    for char in line.strip():
        if char == '"':
            quoted = not quoted
        elif char.isspace() and not quoted:
            words.append(word)
            word = ""
        else:
            word += char
    return [w for w in [*words, word] if w]
