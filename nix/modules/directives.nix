# Subject: directives of systemd services that systemd would ignore.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  units = import ../lib/units.nix { inherit policy; };
  cfg = config.paranoid.directives;

  unknownIn =
    name: service:
    map (key: "${name}.service: ${key}") (
      lib.subtractLists cfg.known (units.unknown service.serviceConfig)
    );
  unknown = lib.concatLists (lib.mapAttrsToList unknownIn config.systemd.services);
in
{
  options.paranoid.directives = {
    enable = lib.mkEnableOption ''
      the check that systemd knows every directive in the [Service] section of every
      unit. A misspelt one (`ProtectKernelTuneables`) evaluates, is ignored with a line
      in the journal, and protects nothing'';

    known = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "ProtectEverything" ];
      description = ''
        Directives that a systemd newer than this list knows, and that the check lets
        pass.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = unknown == [ ];
        message = ''
          paranoid.directives: systemd knows no such directive, and would ignore it:
          ${lib.concatStringsSep "\n" unknown}
          Mend the spelling, or name it in paranoid.directives.known.
        '';
      }
    ];
  };
}
