"""hardware-configuration.nix as people write it: before and after the patch of test_hardware.

`/srv` and `/var/log` belong to the persistence module; what it binds there goes, all else stays.
"""

from __future__ import annotations

_OPTIONS = '[ "size=2G" "mode=755" "noexec" ]'

_SRV = (
    'fileSystems."/srv" = { device = "/nix/persist/srv"; fsType = "none"; options = [ "bind" ]; };'
)
_HOME = 'fileSystems."/home" = { device = "/dev/sdb1"; fsType = "ext4"; };'
_LOG = _SRV.replace("srv", "var/log")
_BARE = 'fileSystems."/" = { device = "none"; fsType = "tmpfs"; };'
_DONE = f'fileSystems."/" = {{ device = "none"; fsType = "tmpfs"; options = {_OPTIONS}; }};'
_AROUND = "{ lib, ... }: with lib; let d = 1; in assert true;"
_REMARK = '{ ... }: {\n  /* fileSystems."/" = { }; */\n  fileSystems."/" = { /* was ext4 */ '

_MULTI = """\
{ lib, ... }:
{
  fileSystems."/" =
    { device = "none";
      fsType = "tmpfs";
      options = [ "defaults" "size=1G" ];
    };

  fileSystems."/srv" =
    { device = "/nix/persist/srv";
      fsType = "none";
      options = [ "bind" ];
    };

  swapDevices = [ ];
}
"""
_MULTI_DONE = f"""\
{{ lib, ... }}:
{{
  fileSystems."/" =
    {{ device = "none";
      fsType = "tmpfs";
      options = {_OPTIONS};
    }};

  swapDevices = [ ];
}}
"""

FORMS = {
    "all on one line": (
        f"{{ ... }}: {{ {_BARE} {_SRV} {_HOME} }}\n",
        f"{{ ... }}: {{ {_DONE} {_HOME} }}\n",
    ),
    "two that go, side by side": (
        f"{{ ... }}: {{\n  {_BARE}\n  {_SRV} {_LOG}\n  {_HOME}\n}}\n",
        f"{{ ... }}: {{\n  {_DONE}\n  \n  {_HOME}\n}}\n",
    ),
    "a neighbour behind": (
        f"{{ ... }}: {{\n  {_BARE}\n  {_LOG} {_HOME}\n}}\n",
        f"{{ ... }}: {{\n  {_DONE}\n  {_HOME}\n}}\n",
    ),
    "a neighbour before, a remark behind": (
        f"{{ ... }}: {{\n  {_BARE}\n  {_HOME} {_LOG} # keep: minio\n}}\n",
        f"{{ ... }}: {{\n  {_DONE}\n  {_HOME} # keep: minio\n}}\n",
    ),
    "the brace on the same line": (
        f"{{ ... }}: {{ {_BARE}\n  {_SRV} }}\n",
        f"{{ ... }}: {{ {_DONE}\n  }}\n",
    ),
    "another device, bound by its owner": (
        f"{{ ... }}: {{ {_BARE} {_SRV.replace('persist', 'data')} }}\n",
        f"{{ ... }}: {{ {_DONE} {_SRV.replace('persist', 'data')} }}\n",
    ),
    "no bind at all": (
        f"{{ ... }}: {{ {_BARE} {_HOME.replace('home', 'srv')} }}\n",
        f"{{ ... }}: {{ {_DONE} {_HOME.replace('home', 'srv')} }}\n",
    ),
    "a set of file systems": (
        f"{{ ... }}: {{\n  fileSystems = {{\n    {_BARE[12:]}\n    {_SRV[12:]}\n  }};\n}}\n",
        f"{{ ... }}: {{\n  fileSystems = {{\n    {_DONE[12:]}\n  }};\n}}\n",
    ),
    "below config": (
        f"{{ lib, ... }}: {{\n  config = {{\n    {_BARE}\n    {_SRV}\n  }};\n}}\n",
        f"{{ lib, ... }}: {{\n  config = {{\n    {_DONE}\n  }};\n}}\n",
    ),
    "config in the path": (
        f"{{ ... }}: {{ config.{_BARE} config.{_SRV} }}\n",
        f"{{ ... }}: {{ config.{_DONE} }}\n",
    ),
    "an attribute a binding": (
        '{ ... }: {\n  fileSystems."/".fsType = "tmpfs";\n  fileSystems."/".device = "none";\n'
        '  fileSystems."/srv".device = "/nix/persist/srv";\n'
        '  fileSystems."/srv".fsType = "none";\n  fileSystems."/srv".options = [ "bind" ];\n'
        '  fileSystems."/nix".neededForBoot = true;\n}\n',
        '{ ... }: {\n  fileSystems."/".fsType = "tmpfs";\n'
        f'  fileSystems."/".options = {_OPTIONS};\n  fileSystems."/".device = "none";\n'
        '  fileSystems."/nix".neededForBoot = true;\n}\n',
    ),
    "mkForce": (
        f"{{ lib, ... }}: {{ {_BARE.replace('= {', '= lib.mkForce {')} }}\n",
        f"{{ lib, ... }}: {{ {_DONE.replace('= {', '= lib.mkForce {')} }}\n",
    ),
    "mkForce of options": (
        f"{{ lib, ... }}: {{ {_DONE.replace(_OPTIONS, 'lib.mkForce ([ ])')} }}\n",
        f"{{ lib, ... }}: {{ {_DONE.replace(_OPTIONS, f'lib.mkForce ({_OPTIONS})')} }}\n",
    ),
    "let, with, rec, assert": (
        f"{_AROUND} {{ {_BARE.replace('{', 'rec {')} }}\n",
        f"{_AROUND} {{ {_DONE.replace('{', 'rec {')} }}\n",
    ),
    "no function": (f"{{ {_BARE} {_LOG} }}\n", f"{{ {_DONE} }}\n"),
    "a file system from a helper": (
        f'{{ ... }}: let sub = n: {{ }}; in {{ {_BARE} fileSystems."/home" = sub "@home"; }}\n',
        f'{{ ... }}: let sub = n: {{ }}; in {{ {_DONE} fileSystems."/home" = sub "@home"; }}\n',
    ),
    "remarks, and another kind of string": (
        f"{_REMARK}fsType = ''tmpfs''; options = [ \"size=25%\" ]; # 25 percent\n  }};\n}}\n",
        f"{_REMARK}fsType = ''tmpfs''; options = {_OPTIONS}; # 25 percent\n  }};\n}}\n",
    ),
    "an odd name": (
        f'{{ ... }}: {{ {_BARE} fileSystems."/mnt/a \\"b\\" c" = {{ device = "x"; }}; }}\n',
        f'{{ ... }}: {{ {_DONE} fileSystems."/mnt/a \\"b\\" c" = {{ device = "x"; }}; }}\n',
    ),
    "the generator's form": (_MULTI, _MULTI_DONE),
    "lines that end as on Windows": (
        _MULTI.replace("\n", "\r\n"),
        _MULTI_DONE.replace("\n", "\r\n"),
    ),
    "no options, and lines that end as on Windows": (
        _MULTI.replace('\n      options = [ "defaults" "size=1G" ];', "").replace("\n", "\r\n"),
        _MULTI_DONE.replace("\n", "\r\n"),
    ),
}
