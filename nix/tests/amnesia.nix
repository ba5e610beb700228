# The root forgets, what the policy lists stays, through cold boots.
_: {
  host = { };

  script = ''
    root = machine.succeed("findmnt --noheadings --output FSTYPE,OPTIONS /")
    t.assertIn("tmpfs", root)
    t.assertIn("size=2097152k", root)

    identity = "cat /etc/machine-id /nix/persist/etc/ssh/ssh_host_ed25519_key.pub"
    before = machine.succeed(identity)
    machine.succeed("touch /canary /etc/canary /root/canary /var/canary")
    machine.succeed("touch /var/log/canary /var/lib/canary /srv/canary")
    machine.succeed("systemd-cat echo written-before-the-reboot; journalctl --sync")

    for boot in range(2):
        machine.shutdown()
        machine.start()
        machine.wait_for_unit("multi-user.target")
        machine.fail("ls /canary || ls /etc/canary || ls /root/canary || ls /var/canary")
        machine.succeed("ls /var/log/canary /var/lib/canary /srv/canary")
        t.assertEqual(before, machine.succeed(identity), "the machine has changed its identity")

    machine.succeed("journalctl --grep written-before-the-reboot")
    t.assertEqual("0\n", machine.succeed("systemctl list-units --failed --plain --no-legend | wc -l"))
  '';
}
