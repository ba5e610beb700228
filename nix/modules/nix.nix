# Subject: who may use Nix on the machine.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.nix;
  wheel = cfg.administrators == "wheel";
in
{
  options.paranoid.nix = {
    enable = lib.mkEnableOption ''
      the closing of Nix to everybody who doesn't administer the machine. The daemon
      builds and runs what it is told to, in the one place that executes; a trusted
      user of it can become root. Breaks `nix` for users, and channels'';

    administrators = lib.mkOption {
      type = lib.types.enum [
        "root"
        "wheel"
      ];
      default = "root";
      example = "wheel";
      description = ''
        Who may use the daemon and is trusted by it: root, or the group wheel too. To be
        trusted is to be root, so wheel means that its members are.
      '';
    };

    buildOnMachine = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether the machine may build. Off, it takes what is pushed to it and builds
        nothing (max-jobs is 0, so a build fails at once and says why). On, builds get
        ${policy.nix.buildDirectory}, the one writable place that executes beside the
        store (see `paranoid.noexec`); `nixos-rebuild switch` on the machine needs it.
      '';
    };

    channels = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = ''
        Whether `nix-channel` is there. A channel is an unpinned source: whoever can
        change what it serves changes the machine at its next rebuild.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    nix.channel.enable = cfg.channels;
    nix.settings = policy.nix.settings // {
      # NixOS adds root as a definition of its own; the lists are meant as they stand.
      allowed-users = lib.mkForce (policy.nix.allowedUsers ++ lib.optionals wheel policy.nix.wheel);
      trusted-users = lib.mkForce (policy.nix.trustedUsers ++ lib.optionals wheel policy.nix.wheel);
      max-jobs = lib.mkIf (!cfg.buildOnMachine) 0;
      build-dir = lib.mkIf cfg.buildOnMachine policy.nix.buildDirectory;
    };
  };
}
