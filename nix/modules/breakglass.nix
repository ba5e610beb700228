# Subject: the boot entry for the day when the machine won't let its owner in.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (policy) breakglass;
  cfg = config.paranoid.breakglass;
  record = import ../lib/breakglass.nix {
    inherit policy;
    logger = lib.getExe' pkgs.util-linux "logger";
  };
in
{
  imports = [
    ./audit.nix
    ./kernel.nix
    ./nix.nix
    ./noexec.nix
  ];

  options.paranoid.breakglass.enable = lib.mkEnableOption ''
    a boot entry (a specialisation) in which programs start from everywhere, kernel modules
    load, audit rules can be changed and the machine may build; with the consoles, where
    root logs in with the password whose hash is in ${policy.layout.persist.passwords}. It is
    for repairs when the paranoid system itself is in the way. It says on every console that
    it is in use, and puts that on record, in the journal and in ${breakglass.record}. It is
    an intruder's entry as well, for one who stands at the console: on BIOS
    `paranoid.boot.passwordFile` asks for a password before it'';

  config = lib.mkIf cfg.enable {
    specialisation.${breakglass.name}.configuration = {
      system.nixos.tags = [ breakglass.name ];

      paranoid = {
        noexec.enable = lib.mkForce false;
        kernel.lockModules = lib.mkForce false;
        audit.lock = lib.mkForce false;
        nix.buildOnMachine = lib.mkForce true;
      };

      services.getty.greetingLine = lib.mkForce "<<< ${breakglass.notice} \\l >>>";
      users.motd = lib.mkForce "${breakglass.notice}\n";

      systemd.services.paranoid-break-glass = {
        description = "Put the Use of Break-Glass on Record";
        wantedBy = [ "multi-user.target" ];
        before = [
          "getty.target"
          "sshd.service"
        ];
        after = [ "systemd-journald.service" ];
        unitConfig.RequiresMountsFor = dirOf breakglass.record;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          StandardError = "journal+console";
        };
        inherit (record) script;
      };
    };
  };
}
