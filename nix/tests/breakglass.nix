# The entry for the day when the paranoid system won't let its owner in: it executes, says
# so, and is on record afterwards.
_:

let
  policy = import ../lib/policy.nix;
  inherit (policy.breakglass) messageId name record;
in
{
  host = { };

  script = ''
    program = "cp $(readlink -f $(command -v true)) /tmp/brought-along && /tmp/brought-along"
    machine.fail(program)
    machine.fail("test -s ${record}")

    entry = machine.succeed("grep --only-matching --max-count=1 'menuentry .*${name}[^\"]*' /boot/grub/grub.cfg")
    title = entry.split('"')[1]
    machine.succeed(f"grub-reboot --boot-directory=/boot '{title}'")
    machine.shutdown()
    machine.start()
    machine.wait_for_unit("multi-user.target")

    machine.succeed(program)
    machine.succeed("journalctl --boot MESSAGE_ID=${messageId} | grep .")
    machine.wait_until_succeeds("test -s ${record}")

    with subtest("the next boot is the paranoid one again, and the record is there"):
        machine.shutdown()
        machine.start()
        machine.wait_for_unit("multi-user.target")
        machine.fail(program)
        machine.succeed("test -s ${record}")
  '';
}
