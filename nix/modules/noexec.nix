# Subject: nothing that can be written to executes; only the store does.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (policy) layout mounts;
  cfg = config.paranoid.noexec;
  declared = import ../lib/filesystems.nix { inherit policy; };

  mount = lib.getExe' pkgs.util-linux "mount";
  # With "bind", the flags of the mount are set as given, and the file system that
  # others may have mounted too is left alone.
  remount = options: path: "${mount} -o remount,bind,${lib.concatStringsSep "," options} ${path}";

  builds = config.paranoid.nix.enable && config.paranoid.nix.buildOnMachine;

  mayExecute = [
    layout.store.mountPoint
    policy.nix.buildDirectory
  ]
  ++ cfg.exceptions;

  executes =
    fileSystem:
    !lib.elem "noexec" fileSystem.options
    && !lib.elem "ro" fileSystem.options
    && !lib.elem fileSystem.mountPoint mayExecute;
  executing = lib.filter executes (lib.attrValues config.fileSystems);
in
{
  imports = [ ./nix.nix ];

  options.paranoid.noexec = {
    enable = lib.mkEnableOption ''
      mounts that execute nothing, everywhere a process can write: a program that
      somebody brings along doesn't start, by whichever path it is reached. Scripts
      still run when an interpreter is given them (`sh ./script`), which is what
      `paranoid.watch` looks for. The file systems of the disk get their options from
      `paranoid.amnesia`, or by hand where that is off; the evaluation names those that
      lack them. Breaks self-updating programs, plugins and build tools in /srv and /home'';

    exceptions = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "/srv/runner" ];
      description = ''
        Mount points of `fileSystems` that may execute all the same. Every other one
        has to be noexec or read-only; the evaluation fails otherwise, since one
        forgotten disk undoes the measure.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = config.fileSystems ? ${layout.nix.mountPoint};
        message = ''
          paranoid.noexec: ${layout.nix.mountPoint} is no file system of its own, so / can't be
          noexec without stopping the store. Switch on paranoid.amnesia, or declare
          fileSystems."${layout.nix.mountPoint}".
        '';
      }
      {
        assertion = executing == [ ];
        message = ''
          paranoid.noexec: programs could be started from ${
            lib.concatMapStringsSep ", " (fileSystem: fileSystem.mountPoint) executing
          }.
          Add "noexec" to the options there, or name it in paranoid.noexec.exceptions.
        '';
      }
      {
        assertion = !config.boot.tmp.useTmpfs;
        message = ''
          paranoid.noexec: boot.tmp.useTmpfs mounts /tmp without noexec. Leave it off: /tmp is
          in memory already, on the root.
        '';
      }
    ];

    fileSystems = lib.mkMerge [
      {
        # /nix is noexec as a whole, since persistent data is on the same disk.
        ${layout.store.mountPoint} = declared.fileSystems.${layout.store.mountPoint};
      }
      (lib.mkIf builds {
        ${policy.nix.buildDirectory} = {
          device = policy.nix.buildDirectory;
          fsType = "none";
          options = [
            "bind"
            "exec"
            "nosuid"
            "nodev"
          ];
        };
      })
    ];

    # NixOS mounts these itself, at boot and at each activation, with nosuid and nodev:
    # an entry in fstab would be undone.
    boot.specialFileSystems = lib.mapAttrs (_: special: {
      options = lib.subtractLists [
        "nosuid"
        "nodev"
      ] special.options;
    }) declared.special;

    systemd.mounts = [
      {
        what = "hugetlbfs";
        where = mounts.hugepages.path;
        type = "hugetlbfs";
        mountConfig.Options = lib.concatStringsSep "," mounts.hugepages.options;
      }
    ];

    systemd.services = {
      # logind has no option for the flags of /run/user/UID.
      ${mounts.userRuntime.unit} = {
        overrideStrategy = "asDropin";
        serviceConfig.ExecStartPost =
          remount mounts.userRuntime.options "${mounts.userRuntime.path}/%i";
      };

      # The set-uid programs have to execute; so nobody may add to them.
      ${mounts.wrappers.unit}.serviceConfig = {
        ExecStartPre = remount [
          "rw"
          "nodev"
        ] mounts.wrappers.path;
        # After the script, whether it succeeded or not.
        ExecStopPost = remount mounts.wrappers.options mounts.wrappers.path;
      };
    };
  };
}
