# A key is the only way in, and nothing is carried through the session.
{ nixpkgs, pkgs }:

let
  keys = import (nixpkgs + "/nixos/tests/ssh-keys.nix") pkgs;
in
{
  host.environment.etc."test/key" = {
    source = keys.snakeOilPrivateKey;
    mode = "0600";
  };

  script = ''
    machine.wait_for_unit("sshd.service")
    machine.wait_for_open_port(22)
    ssh = (
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new"
        " -o IdentitiesOnly=yes -i /etc/test/key "
    )
    machine.succeed("test $(timeout 60 " + ssh + "root@localhost id --user) = 0")

    with subtest("no other proof is taken"):
        machine.succeed("ssh-keygen -q -t ed25519 -N ''' -f /root/other")
        machine.fail(ssh.replace("/etc/test/key", "/root/other") + "root@localhost true")
        offered = machine.fail(
            "ssh -F none -v -o PreferredAuthentications=none root@localhost true 2>&1"
        )
        t.assertIn("Authentications that can continue: publickey\n", offered.replace("\r", ""))

    with subtest("a key in a home directory lets nobody in"):
        machine.succeed("mkdir -p -m 700 /root/.ssh && cp /root/other.pub /root/.ssh/authorized_keys")
        machine.fail(ssh.replace("/etc/test/key", "/root/other") + "root@localhost true")

    with subtest("a key given at install time does"):
        directory = machine.succeed(
            "${pkgs.lib.getExe pkgs.jq} --raw-output .authorizedKeysDirectory /etc/paranoid/layout.json"
        ).strip()
        machine.succeed(f"install -D --mode=644 /root/other.pub {directory}/root")
        machine.succeed(ssh.replace("/etc/test/key", "/root/other") + "root@localhost true")

    with subtest("nothing is forwarded"):
        machine.fail(ssh + "-o ExitOnForwardFailure=yes -W localhost:22 root@localhost")
        machine.fail(ssh + "-o ExitOnForwardFailure=yes -R 2222:localhost:22 root@localhost true")
        machine.fail(ssh + "-s root@localhost sftp < /dev/null")
        machine.fail("eval $(ssh-agent) && " + ssh + "-A root@localhost 'test -n \"$SSH_AUTH_SOCK\"'")

    with subtest("the host keys lie on the disk"):
        machine.succeed("sshd -T | grep --ignore-case '^hostkey /nix/persist/etc/ssh/'")
  '';
}
