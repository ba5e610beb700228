# A program that is brought along starts nowhere; one in the store does.
{ pkgs, ... }:

let
  policy = import ../lib/policy.nix;
  inherit (pkgs.lib) concatStringsSep;

  places = [
    "/"
    "/root"
    "/tmp"
    "/var/tmp"
    "/dev/shm"
    "/run"
    policy.layout.boot.mountPoint
    policy.layout.persist.root
    "/nix/var"
  ]
  ++ map (directory: directory.path) policy.layout.persist.directories
  ++ map (directory: policy.layout.persist.root + directory.path) policy.layout.persist.directories;

  # Reaches past the mount: code that no file system holds.
  memfd = pkgs.writers.writePython3 "memfd" { } ''
    import os
    import sys

    fd = os.memfd_create("brought-along")
    with open(sys.argv[1], "rb") as program:
        os.write(fd, program.read())
    os.execv(f"/proc/self/fd/{fd}", ["brought-along"])
  '';
in
{
  host.environment.etc."test/programs".text = concatStringsSep "\n" [
    "${pkgs.pkgsStatic.hello}/bin/hello"
    "${memfd}"
    "${pkgs.glibc}/lib/ld-linux-x86-64.so.2"
  ];

  script = ''
    program, memfd, loader = machine.succeed("cat /etc/test/programs").split()
    machine.succeed(program)

    for place in "${concatStringsSep " " places}".split():
        brought = place.rstrip("/") + "/brought-along"
        machine.succeed(f"install --mode=755 {program} {brought}")
        with subtest(f"nothing starts from {place}"):
            machine.fail(brought)
            machine.fail(f"{loader} {brought}")
            flags = machine.succeed(f"findmnt --noheadings --output OPTIONS --target {brought}")
            for flag in ("noexec", "nosuid"):
                t.assertIn(flag, flags)
        machine.succeed(f"rm {brought}")

    with subtest("nothing starts from memory"):
        machine.fail(f"{memfd} {program}")

    with subtest("the set-uid programs run, and nobody can add to them"):
        machine.succeed("test -u /run/wrappers/bin/unix_chkpwd")
        machine.fail("touch /run/wrappers/bin/brought-along")
  '';
}
