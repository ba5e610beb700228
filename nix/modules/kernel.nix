# Subject: the kernel's own defences.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  policy = import ../lib/policy.nix;
  cfg = config.paranoid.kernel;

  parameter =
    {
      name,
      value ? null,
      ...
    }:
    if value == null then name else "${name}=${value}";
  settings = lib.listToAttrs (
    map (setting: lib.nameValuePair setting.key setting.value) policy.sysctl.setting
  );
  modules = lib.concatMap (entry: entry.names) policy.kernel.module;
  blocked = lib.subtractLists cfg.allowedModules modules;

  listed =
    entries: name:
    lib.concatMapStrings (
      entry: "- `${name entry}`: ${entry.reason}. Breaks ${entry.breaks}.\n"
    ) entries;

  needsUserNamespaces = lib.attrNames (
    lib.filterAttrs (
      _: service:
      let
        value = service.serviceConfig.PrivateUsers or false;
      in
      service.enable
      && !lib.elem value [
        false
        "false"
        "no"
        "off"
        "0"
      ]
    ) config.systemd.services
  );
in
{
  options.paranoid.kernel = {
    enable = lib.mkEnableOption ''
      settings that make the kernel harder to attack from within. Without them a hole in it
      is a hole in everything above.

      Settings at run time:

      ${listed policy.sysctl.setting (entry: "${entry.key} = ${toString entry.value}")}
      Parameters:

      ${listed policy.kernel.parameter parameter}
      Modules that are not loaded:

      ${listed policy.kernel.module (entry: lib.concatStringsSep "`, `" entry.names)}
      A single setting is taken back with `boot.kernel.sysctl`, the kernel'';

    lockModules = lib.mkOption {
      type = lib.types.bool;
      default = true;
      example = false;
      description = ''
        Whether no module can be loaded once the machine has started. A module is code in
        the kernel. Breaks devices that are plugged in later, and features whose module
        comes on demand: name those in `boot.kernelModules`.
      '';
    };

    allowedModules = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "usb-storage" ];
      description = "Modules that are taken off the list of those that are never loaded.";
    };

    maxUserNamespaces = lib.mkOption {
      type = lib.types.ints.unsigned;
      default = policy.kernel.maxUserNamespaces;
      example = 0;
      description = ''
        User namespaces a user may have at once. 0 closes what most kernel exploits of the
        last years went through, and breaks the Nix sandbox, containers and services with
        PrivateUsers; the evaluation then names those. systemd may need a few for the
        directories of dynamic users, which is why 0 isn't the default.
      '';
    };

    lockdown = lib.mkOption {
      type = lib.types.nullOr (
        lib.types.enum [
          "integrity"
          "confidentiality"
        ]
      );
      default = null;
      example = "integrity";
      description = ''
        The kernel's lockdown mode, in which root can't change the kernel, or with
        `confidentiality` not read it either. NixOS builds its kernels without it, so the
        parameter alone would do nothing: to set this builds a kernel, with modules signed
        by a key of that build. Breaks foreign modules, kexec of unsigned kernels, and with
        confidentiality perf, bpftrace and hibernation.
      '';
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = cfg.maxUserNamespaces == 0 -> needsUserNamespaces == [ ];
            message = ''
              paranoid.kernel: maxUserNamespaces is 0, but PrivateUsers is set for
              ${lib.concatStringsSep ", " needsUserNamespaces}: none of them would start.
              Raise the limit, or unset PrivateUsers there.
            '';
          }
        ];

        # Above NixOS's own defaults, below what a configuration says.
        boot.kernel.sysctl = lib.mapAttrs (_: lib.mkOverride 900) (
          settings // { "user.max_user_namespaces" = cfg.maxUserNamespaces; }
        );

        boot.kernelParams = map parameter policy.kernel.parameter;

        # A blacklisted module is still loaded by name, or for another one; one that is
        # installed by running false isn't.
        boot.extraModprobeConfig = lib.concatMapStrings (
          module: "install ${module} ${lib.getExe' pkgs.coreutils "false"}\n"
        ) blocked;

        # security.lockKernelModules does the same, but asks for a module named after the
        # type of each file system first, and a bind mount is of the type none.
        systemd.services.paranoid-lock-modules = lib.mkIf cfg.lockModules {
          description = "Load No More Kernel Modules";
          wantedBy = [ "multi-user.target" ];
          wants = [ "systemd-udevd.service" ];
          after = [
            "multi-user.target"
            "nftables.service"
            "systemd-modules-load.service"
          ];
          unitConfig.ConditionPathIsReadWrite = "/proc/sys/kernel";
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            TimeoutStartSec = "3min";
          };
          script = ''
            ${lib.getExe' config.systemd.package "udevadm"} settle
            echo 1 > /proc/sys/kernel/modules_disabled
          '';
        };

        # Its unit would load a kernel that this one refuses to start.
        boot.kexec.enable = false;

        # Crashes are still told, in the journal; the memory isn't kept.
        systemd.coredump.settings.Coredump = {
          Storage = "none";
          ProcessSizeMax = policy.kernel.coredump.limit;
        };
        systemd.settings.Manager.DefaultLimitCORE = policy.kernel.coredump.limit;
      }
      (lib.mkIf (cfg.lockdown != null) {
        security.lsm = lib.mkBefore [ "lockdown" ];
        boot.kernelParams = [ "lockdown=${cfg.lockdown}" ];
        boot.kernelPatches = [
          {
            name = "lockdown";
            patch = null;
            structuredExtraConfig = {
              MODULE_SIG = lib.mkForce lib.kernel.yes;
              MODULE_SIG_ALL = lib.kernel.yes;
              SECURITY_LOCKDOWN_LSM = lib.mkForce lib.kernel.yes;
            };
          }
        ];
      })
    ]
  );
}
