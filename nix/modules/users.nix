# Subject: who exists, and where passwords are.
{
  config,
  lib,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.users;
  passwordFile = name: "${policy.layout.persist.passwords}/${name}";

  # "!" and "*" are no hashes, and let nobody in.
  locked = [
    null
    "!"
    "*"
  ];
  initial =
    user:
    user.password != null
    || user.initialPassword != null
    || !lib.elem user.initialHashedPassword locked;
  offenders = lib.attrNames (lib.filterAttrs (_: initial) config.users.users);
in
{
  options = {
    paranoid.users.enable = lib.mkEnableOption ''
      users that are declared, and whose password hashes lie in
      ${policy.layout.persist.passwords}, one file a user, mode 0600 (`mkpasswd`
      makes the hash). With a root that forgets, /etc/shadow is made anew at each boot,
      so an initial password never goes away; and one in the configuration is in the
      store, which everybody reads. Breaks `passwd` and `useradd`'';

    users.users = lib.mkOption {
      type = lib.types.attrsOf (
        lib.types.submodule (
          { name, config, ... }:
          {
            config = lib.mkIf (cfg.enable && (name == "root" || config.isNormalUser)) {
              hashedPasswordFile = lib.mkDefault (passwordFile name);
            };
          }
        )
      );
    };
  };

  config = lib.mkIf cfg.enable {
    users.mutableUsers = false;

    assertions = [
      {
        assertion = offenders == [ ];
        message = ''
          paranoid.users: a password in plain text, or an initial one, is set for
          ${lib.concatStringsSep ", " offenders}. It would come back at every boot. Put its hash
          into a file of ${policy.layout.persist.passwords}, or name the file with
          hashedPasswordFile.
        '';
      }
    ];
  };
}
