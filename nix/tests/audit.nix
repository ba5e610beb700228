# Every start of a program is on record, whether it succeeds or not.
_: {
  host = { };

  script = ''
    machine.wait_for_unit("auditd.service")
    machine.wait_for_unit("paranoid-audit-check.service")
    for call in ("execve", "execveat"):
        t.assertIn(call, machine.succeed("auditctl -l"))

    with subtest("the rules are locked"):
        t.assertIn("enabled 2", machine.succeed("auditctl -s"))
        machine.fail("auditctl -D")

    with subtest("a start is recorded, with its arguments"):
        machine.succeed("env true --a-word-to-look-for")
        machine.wait_until_succeeds("ausearch --message EXECVE --raw | grep a-word-to-look-for")

    with subtest("so is one that was refused"):
        machine.succeed("install --mode=755 $(readlink -f $(command -v true)) /tmp/brought-along")
        machine.fail("/tmp/brought-along")
        machine.wait_until_succeeds("ausearch --file /tmp/brought-along --success no --raw | grep SYSCALL")

    with subtest("no record was lost"):
        t.assertIn("lost 0", machine.succeed("auditctl -s"))
  '';
}
