"""The packer templates: packer's own judgement of them, and what it does not look at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PACKER = Path(__file__).parents[2] / "scripts/packer"
TEMPLATES = sorted(PACKER.rglob("*.pkr.hcl"))
NAMES = [str(t.relative_to(PACKER)) for t in TEMPLATES]

needs_packer = pytest.mark.skipif(shutil.which("packer") is None, reason="packer is not installed")

AMAZON = """\
region   = "eu-central-1"
flake    = "github:example/paranoid-install"
ssh_keys = ["ssh-ed25519 AAAA me@desk", "ssh-ed25519 AAAA it's me"]
"""


def packer(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["packer", *words],
        env={**os.environ, "CHECKPOINT_DISABLE": "1"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def variables(text: str) -> dict[str, str]:
    """The blocks of a template's variables, by name; fmt has indented them."""
    return dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.DOTALL | re.MULTILINE))


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    file = tmp_path / "image.iso"
    file.touch()
    return file


@pytest.fixture
def amazon(tmp_path: Path) -> Path:
    """The amazon templates without what only a newer packer knows, and values for them."""
    target = tmp_path / "amazon"
    shutil.copytree(PACKER / "amazon", target)
    build = target / "register.pkr.hcl"
    newer = re.compile(r'  source "(amazon-ebssurrogate\.\w+)" \{.*?\n  \}\n', re.DOTALL)
    text, count = newer.subn('  sources = ["source.\\1"]\n', build.read_text())
    assert count == 1
    build.write_text(text)
    (target / "values.pkrvars.hcl").write_text(AMAZON)
    return target


@needs_packer
@pytest.mark.parametrize("template", TEMPLATES, ids=NAMES)
def test_templates_are_written_as_packer_formats_them(template: Path) -> None:
    done = packer("fmt", "-check", "-diff", template)
    assert done.returncode == 0, done.stdout


@needs_packer
def test_the_qemu_template_is_valid(iso: Path) -> None:
    done = packer("validate", "-var", f"iso={iso}", PACKER / "qemu.pkr.hcl")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_packer
def test_the_amazon_template_is_valid(amazon: Path) -> None:
    done = packer("validate", f"-var-file={amazon / 'values.pkrvars.hcl'}", amazon)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_packer
def test_what_is_misspelt_in_the_amazon_template_is_found(amazon: Path) -> None:
    template = amazon / "amazon-ebssurrogate.pkr.hcl"
    template.write_text(template.read_text().replace("ena_support", "ena_suport"))
    done = packer("validate", f"-var-file={amazon / 'values.pkrvars.hcl'}", amazon)
    assert done.returncode == 1
    assert "ena_suport" in done.stdout + done.stderr


@needs_packer
@pytest.mark.parametrize(
    "value",
    ["iso=", "name=", "name=../x", "output=", "disk_size=8T", "memory=512", "cpus=0",
     "accelerator=xen", "timeout=soon", "iso_checksum=md5:00"],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_by_its_variable(iso: Path, value: str) -> None:
    words = [] if value == "iso=" else ["-var", f"iso={iso}"]
    done = packer("validate", *words, "-var", value, PACKER / "qemu.pkr.hcl")
    assert done.returncode == 1
    assert f"The {value.partition('=')[0]} must" in done.stdout + done.stderr


@needs_packer
@pytest.mark.parametrize(
    "value",
    ['region="here"', 'flake="github:a/b#c"', 'system="a;reboot"', "ssh_keys=[]", 'name="a"',
     'nixos_release="unstable"', 'disk="sda"', "volume_size=1"],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_for_amazon_too(amazon: Path, value: str) -> None:
    name = value.partition("=")[0]
    kept = [line for line in AMAZON.splitlines() if not line.startswith(name)]
    (amazon / "values.pkrvars.hcl").write_text("\n".join([*kept, value, ""]))
    done = packer("validate", f"-var-file={amazon / 'values.pkrvars.hcl'}", amazon)
    assert done.returncode == 1
    assert f"The {name} must" in done.stdout + done.stderr


@pytest.mark.parametrize("template", TEMPLATES, ids=NAMES)
def test_every_variable_has_a_type_and_says_what_it_is(template: Path) -> None:
    text = template.read_text()
    assert len(variables(text)) == text.count('variable "')
    for name, block in variables(text).items():
        assert re.search(r"^  type +=", block, re.MULTILINE), name
        described = re.search(r'^  description += "(.+)"$', block, re.MULTILINE)
        assert described is not None, name
        assert len(described[1].split()) >= 3, name


@pytest.mark.parametrize("template", TEMPLATES, ids=NAMES)
def test_no_secret_is_in_a_template_nor_asked_for(template: Path) -> None:
    text = template.read_text()
    for word in ("access_key", "secret_key", "password", "token ", "PRIVATE KEY", "AKIA"):
        assert word not in text, word
    # Keys of people come from outside, and are public.
    assert not re.search(r"ssh-(ed25519|rsa) ", text)


def test_an_ami_is_registered_for_ena_uefi_tpm_and_imds_version_2() -> None:
    text = "".join(t.read_text() for t in TEMPLATES if t.parent.name == "amazon")
    said = dict(re.findall(r'^ +(\w+) += "?([\w.]+)"?$', text, re.MULTILINE))
    wanted = {
        "ena_support": "true",
        "boot_mode": "uefi",
        "tpm_support": "v2.0",
        "imds_support": "v2.0",
        "http_tokens": "required",
    }
    assert {name: said.get(name) for name in wanted} == wanted


def test_an_ami_is_installed_sealed_onto_the_blank_volume_alone() -> None:
    text = (PACKER / "amazon/register.pkr.hcl").read_text()
    assert "--disk '${var.disk}' --firmware uefi --seal" in text
    assert "--wipe" not in text
    disk = variables((PACKER / "amazon/amazon-ebssurrogate.pkr.hcl").read_text())["disk"]
    assert 'default     = "/dev/nvme1n1"' in disk
