"""The images, evaluated with the real module system as far as a builder would need them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import settings
from tests.unit.samples import KEY, rsa

Evaluate = Callable[[str], Any]

IMAGE = """
  let
    live = module: (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        outputs.nixosModules.iso
        { nixpkgs.hostPlatform = "x86_64-linux"; }
        module
      ];
    }).config;
    fired = config: map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
    force = (import (nixpkgs + "/lib")).mkForce;
  in
"""


@pytest.fixture(scope="module")
def iso(evaluate: Evaluate) -> Any:
    return evaluate(IMAGE + """
      let
        config = live {
          paranoid.image.sshKeys = [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f one"
          ];
          paranoid.image.answers.disk = "serial=1234";
        };
        etc = config.environment.etc;
        answers = etc."paranoid/answers.toml".source;
      in
      {
        drv = config.system.build.medium.drvPath;
        fired = fired config;
        inherit (config) warnings;
        answers = config.paranoid.image.answers;
        file = answers.drvPath;
        volume = config.isoImage.volumeID;
        efi = config.isoImage.makeEfiBootable;
        bios = config.isoImage.makeBiosBootable;
        timeout = config.boot.loader.timeout;
        parameters = config.boot.kernelParams;
        unit = config.systemd.units."paranoid-install.service".text;
        wanted = config.systemd.units."paranoid-install.service".wantedBy;
        shell = config.systemd.units."paranoid-shell@.service".text;
        getty = config.systemd.targets.getty.enable;
        sshd = config.services.openssh.enable;
        sudo = config.security.sudo.enable;
        people = builtins.filter (u: u.isNormalUser) (builtins.attrValues config.users.users);
        rootHash = config.users.users.root.hashedPassword;
        trusted = config.nix.settings.trusted-users;
        allowed = config.nix.settings.allowed-users;
        channel = config.system.installer.channel.enable;
      }
    """)  # fmt: skip


def test_the_iso_evaluates_and_nothing_is_wrong_with_it(iso: Any) -> None:
    assert iso["drv"].endswith(".iso.drv")
    assert iso["fired"] == []
    assert iso["warnings"] == []


def test_the_iso_boots_from_bios_and_uefi_and_shows_itself_on_screen_and_serial_line(
    iso: Any,
) -> None:
    assert iso["bios"]
    assert iso["efi"]
    assert len(iso["volume"]) <= 32
    # 0 would make ISOLINUX wait for ever.
    assert iso["timeout"] > 0
    assert [p for p in iso["parameters"] if p.startswith("console=")] == [
        "console=ttyS0,115200n8",
        "console=tty0",
    ]


def test_the_unit_is_the_plain_file_with_every_placeholder_filled_in(iso: Any) -> None:
    for unit in (iso["unit"], iso["shell"]):
        assert not re.search(r"@[a-z]+@", unit)
    assert re.search(r"^ExecStart=/nix/store/\S+/bin/autoinstall$", iso["unit"], re.MULTILINE)
    assert "-paranoid-install-" in re.search(r"PATH=(\S+)", iso["unit"])[1]  # type: ignore[index]
    assert iso["wanted"] == ["multi-user.target"]


def test_the_answers_are_settings_that_the_installer_knows(iso: Any) -> None:
    given = settings.parse_answers(iso["answers"], "answers.toml")
    assert given["disk"].values == ("serial=1234",)
    assert given["ssh-key"].values == (KEY.replace(" admin", " one"),)
    assert given["countdown"].values == ("30",)
    assert given["wait-for-disk"].values == ("60",)
    assert given["then"].values == ("poweroff",)


def test_nobody_can_log_in_to_the_live_system(iso: Any) -> None:
    assert iso["people"] == []
    assert iso["rootHash"] is None
    assert not iso["sshd"]
    assert not iso["sudo"]
    assert not iso["getty"]
    assert iso["allowed"] == ["root"]
    assert iso["trusted"] == ["root"]


def test_an_image_without_a_system_brings_what_to_build_one_from(iso: Any) -> None:
    assert iso["channel"]


def test_what_must_not_be_in_an_image_is_refused(evaluate: Evaluate, tmp_path: Path) -> None:
    keys = tmp_path / "octocat.keys"
    keys.write_text(f"{KEY}\n")
    right = "sha256-" + base64.b64encode(hashlib.sha256(keys.read_bytes()).digest()).decode()
    wrong = "sha256-" + base64.b64encode(bytes(32)).decode()
    fired = evaluate(IMAGE + f"""
      let refusals = settings: fired (live settings); in
      {{
        url = refusals {{ paranoid.image.sshKeys = [ {{ url = "https://example.org/k"; }} ]; }};
        two = refusals {{ paranoid.image.sshKeys = [ {{ key = "k"; file = {keys}; }} ]; }};
        changed = refusals {{
          paranoid.image.sshKeys = [ {{ file = {keys}; hash = "{wrong}"; }} ];
        }};
        pinned = refusals {{
          paranoid.image.sshKeys = [
            {{ url = "https://example.org/k"; hash = "{right}"; }}
            {{ file = {keys}; hash = "{right}"; }}
          ];
        }};
        short = refusals {{ paranoid.image.sshKeys = [ "{rsa(2048)}" ]; }};
        shortAdmitted = refusals {{
          paranoid.image.sshKeys = [ "{rsa(2048)}" ];
          paranoid.image.olderKeys = [ "rsa-2048" ];
        }};
        command = refusals {{
          paranoid.image.sshKeys = [ "command=\\"exit\\" {KEY}" ];
        }};
        password = refusals {{ paranoid.image.rootPasswordHash = "hunter2"; }};
        hash = refusals {{ paranoid.image.rootPasswordHash = "$y$j9T$salt$hashhashhash"; }};
        base = refusals {{
          services.openssh.enable = true;
          services.openssh.settings.PermitRootLogin = "yes";
          services.getty.autologinUser = "root";
          security.sudo.enable = force true;
          users.users.nixos = {{ isNormalUser = true; initialHashedPassword = ""; }};
        }};
      }}
    """)  # fmt: skip
    assert "has no hash" in fired["url"][0]
    assert "needs one of" in fired["two"][0]
    assert f"has the hash {right}" in fired["changed"][0]
    assert fired["pinned"] == []
    assert "sshd takes RSA keys of 3072 bits and more, and it has 2048" in fired["short"][0]
    assert fired["shortAdmitted"] == []
    assert "in place of a shell" in fired["command"][0]
    assert "no hash of crypt(5)" in fired["password"][0]
    assert "hunter2" not in fired["password"][0]
    assert fired["hash"] == []
    assert len(fired["base"]) == 5


# Each of these evaluates several systems, and takes some GiB of memory while it does.


def test_what_the_flake_gives_evaluates(evaluate: Evaluate) -> None:
    given = evaluate("""
      let packages = outputs.packages.x86_64-linux; in
      {
        packages = builtins.attrNames packages;
        drvs = [
          packages.default.drvPath
          packages.netboot.drvPath
          outputs.checks.x86_64-linux.lint.drvPath
          outputs.formatter.x86_64-linux.drvPath
          outputs.devShells.x86_64-linux.default.drvPath
        ];
        modules = builtins.attrNames outputs.nixosModules;
      }
    """)
    assert given["packages"] == [
        "ami", "default", "iso", "netboot", "options-doc", "paranoid-install", "raw-image",
    ]  # fmt: skip
    for drv in given["drvs"]:
        assert drv.endswith(".drv")
    assert {"default", "images", "iso", "netboot", "ec2", "amnesia", "sshd"} <= set(
        given["modules"]
    )


@pytest.fixture(scope="module")
def raw(evaluate: Evaluate) -> Any:
    return evaluate("""
      let
        image = outputs.packages.x86_64-linux.raw-image;
        inherit (image.passthru) host installer system;
      in
      {
        drv = image.drvPath;
        file = image.passthru.filePath;
        inherit (installer.paranoid.image) answers;
        system = system.outPath;
        fired = builtins.filter (a: !a.assertion) installer.assertions;
        boot = host.fileSystems."/boot".device;
        device = host.boot.loader.grub.devices;
        drivers = host.boot.initrd.availableKernelModules;
        firmware = host.hardware.enableRedistributableFirmware;
        script = image.buildCommand;
        inherit (outputs.nixosConfigurations.meeka.config) warnings;
      }
    """)


def test_a_disk_image_is_what_the_installer_leaves_of_the_host(raw: Any) -> None:
    assert raw["drv"].endswith(".drv")
    assert raw["fired"] == []
    assert raw["warnings"] == []
    answers = settings.parse_answers(raw["answers"], "answers.toml")
    assert answers["system"].values == (raw["system"],)
    assert answers["countdown"].values == ("0",)
    assert answers["then"].values == ("poweroff",)
    assert answers["disk"].values == ("serial=paranoid-image",)
    assert "serial=paranoid-image" in raw["script"]


def test_a_disk_image_has_no_identity(raw: Any) -> None:
    answers = settings.parse_answers(raw["answers"], "answers.toml")
    assert answers["seal"].values == ("true",)
    assert "select(.sealed).toplevel" in raw["script"]


def test_a_system_for_an_unknown_disk_finds_it_by_label(raw: Any) -> None:
    # meeka's own configuration names the UUIDs of its disk, and the disk.
    assert raw["boot"] == "/dev/disk/by-label/boot"
    assert raw["device"] == ["nodev"]
    assert {"ahci", "nvme", "sd_mod", "virtio_blk", "virtio_pci", "virtio_scsi"} <= set(
        raw["drivers"]
    )


def test_drivers_for_every_disk_bring_no_firmware_that_the_host_does_not_want(raw: Any) -> None:
    assert raw["firmware"] is False


def test_a_medium_of_a_host_carries_it_for_both_kinds_of_firmware(evaluate: Evaluate) -> None:
    medium = evaluate("""
      let
        image = outputs.nixosConfigurations.meeka.config.system.build.images.paranoid-iso;
        inherit (image.passthru) installer;
      in
      {
        drv = image.drvPath;
        file = image.passthru.filePath;
        systems = map (s: s.outPath) installer.paranoid.image.systems;
        channel = installer.system.installer.channel.enable;
      }
    """)
    assert medium["drv"].endswith(".iso.drv")
    assert medium["file"].endswith(".iso")
    assert len(set(medium["systems"])) == 2
    # Nothing is built on it, so it brings nothing to build from.
    assert not medium["channel"]


def test_an_ami_boots_by_uefi_and_shows_itself_on_the_serial_console(evaluate: Evaluate) -> None:
    ami = evaluate("""
      let
        image = outputs.packages.x86_64-linux.ami;
        inherit (image.passthru) config;
      in
      {
        drv = image.drvPath;
        firmware = config.paranoid.boot.firmware;
        parameters = config.boot.kernelParams;
        time = config.networking.timeServers;
        inherit (config) warnings;
        fired = builtins.filter (a: !a.assertion) config.assertions;
      }
    """)
    assert ami["drv"].endswith(".drv")
    assert ami["firmware"] == "uefi"
    assert "console=ttyS0,115200n8" in ami["parameters"]
    assert ami["time"] == ["169.254.169.123"]
    assert ami["warnings"] == []
    assert ami["fired"] == []


def test_a_machine_that_fetches_its_keys_tells_the_installer(evaluate: Evaluate) -> None:
    machine = evaluate("""
      let
        machine = outputs.nixosConfigurations.meeka.extendModules {
          modules = [ outputs.nixosModules.ec2 { paranoid.ec2.keysFromMetadata = true; } ];
        };
        inherit (machine) config;
      in
      {
        layout = config.environment.etc."paranoid/layout.json".text;
        environment = { inherit (config.systemd.services.paranoid-ec2-keys.environment)
          KEYS METADATA RSA_BITS TYPES; };
        fired = builtins.filter (a: !a.assertion) config.assertions;
        rootShutOut = map (a: a.message) (builtins.filter (a: !a.assertion) (machine.extendModules {
          modules = [ ({ lib, ... }: {
            services.openssh.settings.PermitRootLogin = lib.mkForce "no";
          }) ];
        }).config.assertions);
      }
    """)
    assert machine["fired"] == []
    assert any("root does not get in" in message for message in machine["rootShutOut"])
    assert json.loads(machine["layout"])["keysFrom"] == "the instance metadata service"
    environment = machine["environment"]
    assert environment["METADATA"] == "http://169.254.169.254/latest http://[fd00:ec2::254]/latest"
    assert environment["KEYS"] == "/nix/persist/etc/ssh/authorized_keys.d/root"
    assert environment["TYPES"] == "sk-ssh-ed25519@openssh.com ssh-ed25519 ssh-rsa"
    assert environment["RSA_BITS"] == "3072"


def test_the_tests_in_virtual_machines_evaluate_and_are_python(evaluate: Evaluate) -> None:
    tests = evaluate("""
      builtins.mapAttrs (_: test: { drv = test.drvPath; script = test.config.testScriptString; })
        (removeAttrs outputs.checks.x86_64-linux [ "lint" ])
    """)
    assert sorted(tests) == ["vm-amnesia", "vm-audit", "vm-breakglass", "vm-noexec", "vm-sshd"]
    for name, test in tests.items():
        compile(test["script"], name, "exec")


def test_the_documented_options_are_those_of_the_modules(evaluate: Evaluate) -> None:
    text = evaluate("outputs.packages.x86_64-linux.options-doc.text")
    committed = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    assert committed == text, "make it anew: nix build .#options-doc && cp result docs/options.md"


def test_every_option_is_documented_whole() -> None:
    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    sections = text.split("\n### ")[1:]
    assert len(sections) > 50
    for section in sections:
        name, description, *_ = section.split("\n\n")
        assert len(description.split()) > 5, name
        for part in ("- type: ", "- default:", "- example:", "- declared in: "):
            assert f"\n{part}" in section, f"{name} has no {part}"
