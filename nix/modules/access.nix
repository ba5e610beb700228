# Subject: one way in remains.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.access;
  # An authority, say, whose word the owner gives. That module need not be there.
  keysFrom = config.paranoid.amnesia.keysFrom or "";
  judged = import ../lib/access.nix { inherit policy; } config;
in
{
  options.paranoid.access = {
    enable = lib.mkEnableOption ''
      the check that one way into the machine remains: an ssh daemon that some network
      reaches, and a user whom it lets into a shell with a key that it takes; or a password
      at the console. Each measure alone is right, and all together they can lock the
      owner out'';

    keysOnDisk = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "root" ];
      description = ''
        Users whose keys lie in ${policy.layout.persist.authorizedKeys}, a file a user, and not
        in the configuration. The installer puts root's there (`--ssh-key`), says so in the
        configuration that it writes, and refuses a system that relies on them where none was
        given. Why it has to be said: a configuration without any key is otherwise a machine
        without a way in.
      '';
    };

    console = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether somebody can log in at the console: holds a password whose hash lies in
        ${policy.layout.persist.passwords}, and reaches the machine's console. Counts as
        a way in, so that a machine without any other one evaluates.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        # Words say nothing of the daemon, the network, and who may log in.
        assertion = cfg.console || judged.ways != [ ] || (keysFrom != "" && judged.admitted != [ ]);
        message = ''
          paranoid.access: no way into this machine remains: ${judged.why}.
          Set users.users.<name>.openssh.authorizedKeys.keys to a key that the daemon takes, or
          paranoid.access.keysOnDisk if the installer brings it, and let a network reach the
          daemon (paranoid.sshd.openFirewall, paranoid.vpn); or say with
          paranoid.access.console = true that the console is enough.
        '';
      }
    ];
  };
}
