"""Who gets into a machine, user by user: nix/lib/access.nix over configurations as plain data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import keys, nixlang
from tests.nix.conftest import ROOT, Nix
from tests.unit.samples import KEY, rsa

Judge = Callable[[str], Any]

ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGdEdLh7DEzoNE0HO0s"
    "FbndOLFUBbdlSvk3J9PGkAQsxYRAeXsRNEWEHEoNbarV+KAoqyDFAGCdC77dVqv0D4FQ= deploy"
)

# A machine as NixOS evaluates it, with sshd reached by all and root with a key; `change` is laid
# over it.
BASE = """
  let
    policy = import {root}/nix/lib/policy.nix;
    sshd = import {root}/nix/lib/sshd.nix {{ inherit policy; }};
    merge = a: b: a // builtins.mapAttrs (name: value:
      if builtins.isAttrs value && builtins.isAttrs (a.${{name}} or null)
      then merge a.${{name}} value else value) b;
    user = name: shell: keys: {{
      inherit name shell;
      openssh.authorizedKeys = {{ inherit keys; keyFiles = [ ]; }};
    }};
    bash = "/run/current-system/sw/bin/bash";
    nologin = {{ type = "derivation"; shellPath = "/bin/nologin"; }};
    key = {key};
    rsa2048 = {rsa};
    ecdsa = {ecdsa};
    base = {{
      users.users = {{
        root = user "root" bash [ key ];
        nobody = user "nobody" nologin [ ];
      }};
      users.groups = {{ }};
      services.openssh = {{
        enable = true;
        ports = [ 22 ];
        listenAddresses = [ ];
        inherit (sshd) settings authorizedKeysFiles;
        extraConfig = "Port 22\\nAuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\\n";
      }};
      services.tailscale = {{ enable = false; interfaceName = "tailscale0"; }};
      networking.wireguard.interfaces = {{ }};
      networking.firewall = {{
        enable = true;
        allowedTCPPorts = [ 22 ];
        trustedInterfaces = [ ];
        interfaces = {{ }};
      }};
    }};
    none = {{ users.users.root.openssh.authorizedKeys.keys = [ ]; }};
    onDisk = merge none {{ paranoid.access.keysOnDisk = [ "root" ]; }};
    admin = shell: merge none {{ users.users.admin = user "admin" shell [ key ]; }};
    set = settings: {{ services.openssh = {{ inherit settings; }}; }};
    judged = import {root}/nix/lib/access.nix {{ inherit policy; }} (merge base ({change}));
  in
  {{ inherit (judged) admitted ways configured why accepts rootReadsDisk passwords; }}
"""


@pytest.fixture(scope="module")
def judge(nix: Nix) -> Judge:
    def evaluate(change: str) -> Any:
        return nix.evaluate(
            BASE.format(
                root=ROOT,
                change=change,
                key=nixlang.string(KEY),
                rsa=nixlang.string(rsa(2048)),
                ecdsa=nixlang.string(ECDSA),
            )
        )

    return evaluate


def test_root_gets_in_with_a_key(judge: Judge) -> None:
    judged = judge("{ }")
    assert judged["ways"] == judged["configured"] == ["root"]
    assert judged["rootReadsDisk"] is True
    assert judged["passwords"] == []
    policy = keys.of_policy()
    assert set(judged["accepts"]["algorithms"]) == {
        name for name in policy.algorithms if "cert" not in name
    }
    assert judged["accepts"]["rsaBits"] == policy.rsa_bits


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("none", "no user who may log in has a key"),
        ('set { PermitRootLogin = "no"; }', "root is not let in: PermitRootLogin is no"),
        ('merge onDisk (set { PermitRootLogin = "no"; })', "root is not let in: PermitRootLogin"),
        ('set { PermitRootLogin = "forced-commands-only"; }', "PermitRootLogin is forced-com"),
        ('set { AllowUsers = [ "admin" ]; }', "root is not let in: AllowUsers does not name it"),
        ('set { DenyUsers = [ "r*" ]; }', "root is not let in: DenyUsers names it"),
        ('set { DenyUsers = "a root@*"; }', "root is not let in: DenyUsers names it"),
        ('set { AllowGroups = [ "wheel" ]; }', "AllowGroups names no group of it"),
        ('merge (set { DenyGroups = [ "wh?el" ]; }) { users.groups.wheel.members = [ "root" ]; }',
         "DenyGroups names a group of it"),
        ("set { PubkeyAuthentication = false; }", "PubkeyAuthentication is off"),
        ('set { AuthenticationMethods = "publickey,password"; }', "wants more than a key"),
        ('set { ForceCommand = "internal-sftp"; }', "ForceCommand runs one command"),
        ("set { UsePAM = false; }", "without UsePAM"),
        ('{ services.openssh.listenAddresses = [ { addr = "127.0.0.1"; port = null; } '
         '{ addr = "::1"; port = 22; } ]; }', "loopback alone"),
        ("{ services.openssh.enable = false; }", "the ssh daemon is off"),
        ('{ services.openssh.extraConfig = "Match Address 10.0.0.0/8\\n  allowUsers x\\n"; }',
         "extraConfig says allowusers"),
        ('{ services.openssh.authorizedKeysFiles = [ "/elsewhere/%u" ]; }', "no file that sshd"),
        ('merge onDisk { services.openssh.authorizedKeysFiles = [ "/etc/x/%u" ]; }',
         "are in no file that sshd reads"),
        ("{ users.users.root.openssh.authorizedKeys.keys = [ ecdsa ]; }",
         "sshd takes no key of type ecdsa-sha2-nistp256"),
        ("{ users.users.root.openssh.authorizedKeys.keys = [ rsa2048 ]; }",
         "sshd takes RSA keys of 3072 bits and more, and it has 2048"),
        ('{ users.users.root.openssh.authorizedKeys.keys = [ "command=\\"x\\" ${key}" ]; }',
         "in place of a shell"),
        ("admin nologin", "admin is not let in: its login shell is none"),
        ('admin "/run/current-system/sw/bin/false"', "its login shell is none"),
        ("merge (admin bash) { users.users.admin.expires = \"2027-01-01\"; }", "account expires"),
        ("merge (admin bash) { users.users.admin.enable = false; }", "no user who may log in"),
        ("{ networking.firewall.allowedTCPPorts = [ ]; }", "no network reaches the ssh daemon"),
        ("{ services.openssh.ports = [ 2222 ]; }", "no network reaches the ssh daemon"),
    ],
)  # fmt: skip
def test_what_lets_nobody_in(judge: Judge, change: str, why: str) -> None:
    judged = judge(change)
    assert judged["ways"] == []
    assert why in judged["why"]


@pytest.mark.parametrize(
    ("change", "who"),
    [
        ("onDisk", ["root"]),
        ('merge (set { PermitRootLogin = "no"; }) (admin bash)', ["admin"]),
        ('merge (set { AllowUsers = [ "adm*@10.0.0.1" ]; }) (admin bash)', ["admin"]),
        ('set { DenyUsers = [ "root@10.0.0.1" "guest" ]; }', ["root"]),
        ('merge (set { AllowGroups = [ "w*" ]; }) { users.users.root.extraGroups = [ "wheel" ]; }',
         ["root"]),
        ('set { AuthenticationMethods = "publickey,password publickey"; }', ["root"]),
        ('{ services.openssh.listenAddresses = '
         '[ { addr = "127.0.0.1"; } { addr = "10.0.0.1"; } ]; }', ["root"]),
        ("merge (set { RequiredRSASize = 2048; }) "
         "{ users.users.root.openssh.authorizedKeys.keys = [ rsa2048 ]; }", ["root"]),
        ("merge (set { PubkeyAcceptedAlgorithms = null; RequiredRSASize = null; }) "
         "{ users.users.root.openssh.authorizedKeys.keys = [ ecdsa ]; }", ["root"]),
        ("{ users.users.root.openssh.authorizedKeys.keys = [ ecdsa key ]; }", ["root"]),
        ("{ networking.firewall = { enable = false; allowedTCPPorts = [ ]; }; }", ["root"]),
        ('{ networking.firewall = { allowedTCPPorts = [ ]; trustedInterfaces = [ "eth1" ]; }; }',
         ["root"]),
    ],
)  # fmt: skip
def test_who_gets_in(judge: Judge, change: str, who: list[str]) -> None:
    assert judge(change)["ways"] == who


def test_a_file_of_keys_counts_as_its_lines(judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# mine\n\n{ECDSA}\n{KEY}\n", encoding="utf-8")
    file = f"users.users.root.openssh.authorizedKeys.keyFiles = [ {tmp_path}/keys ];"
    assert judge(f"merge none {{ {file} }}")["ways"] == ["root"]


def test_keys_that_the_installer_brings_are_no_way_of_the_configurations_own(judge: Judge) -> None:
    assert judge("onDisk")["configured"] == []
    assert judge("none")["rootReadsDisk"] is True
    assert judge("none")["admitted"] == ["root"]
    assert judge('merge (set { PermitRootLogin = "no"; }) (admin bash)')["admitted"] == ["admin"]
    assert judge("{ services.openssh.enable = false; }")["admitted"] == []
    assert judge('set { PermitRootLogin = "no"; }')["rootReadsDisk"] is False


def test_a_password_counts_where_the_installer_puts_it(judge: Judge) -> None:
    file = "/nix/persist/etc/passwords/root"
    assert judge(f'{{ users.users.root.hashedPasswordFile = "{file}"; }}')["passwords"] == ["root"]
    assert judge('{ users.users.root.hashedPasswordFile = "/run/x"; }')["passwords"] == []
