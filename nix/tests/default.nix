# Tests in virtual machines, for whoever has a builder with KVM. One host is installed with
# the installer, as its disk image is, and every test boots a copy of that disk. One file a
# test:
#   { pkgs, nixpkgs }: { host = what it needs on the host; script = the test; }
{
  hostWith,
  nixpkgs,
  pkgs,
}:

let
  inherit (pkgs) lib;

  qemu =
    (import (nixpkgs + "/nixos/lib/qemu-common.nix") {
      inherit lib;
      inherit (pkgs) stdenv;
    }).qemuBinary
      pkgs.qemu_test;

  tests = lib.mapAttrs' (
    file: _:
    lib.nameValuePair (lib.removeSuffix ".nix" file) (
      import (./. + "/${file}") { inherit nixpkgs pkgs; }
    )
  ) (removeAttrs (builtins.readDir ./.) [ "default.nix" ]);

  # The whole profile, but for what it would take from the network.
  host = hostWith (
    [
      (nixpkgs + "/nixos/modules/testing/test-instrumentation.nix")
      {
        networking.hostName = "machine";
        paranoid.enable = true;
        paranoid.antivirus.enable = false;
        system.stateVersion = lib.trivial.release;
        users.users.root.openssh.authorizedKeys.keys = [
          (import (nixpkgs + "/nixos/tests/ssh-keys.nix") pkgs).snakeOilPublicKey
        ];
      }
    ]
    ++ lib.mapAttrsToList (_: test: test.host) tests
  );
  image = host.config.system.build.images.paranoid-raw;
in
lib.mapAttrs' (
  name: test:
  lib.nameValuePair "vm-${name}" (
    pkgs.testers.runNixOSTest {
      name = "paranoid-${name}";
      nodes = { };
      testScript = ''
        import subprocess
        import tempfile

        # The image lies in the store; what the machine writes goes to a layer over it.
        disk = tempfile.mkdtemp() + "/disk.qcow2"
        image = "${image}/${image.passthru.filePath}"
        subprocess.run(
            ["${pkgs.qemu_test}/bin/qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, disk],
            check=True,
        )
        machine = create_machine(
            f"${qemu} -m 2048 -smp 2 -drive file={disk},if=virtio,werror=report",
            name="machine",
        )
        machine.start()
        machine.wait_for_unit("multi-user.target")

        ${lib.trim test.script}
      '';
    }
  )
) tests
