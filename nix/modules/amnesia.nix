# Subject: a machine that forgets: / in memory, the rest by its policy on the disk.
{
  config,
  lib,
  options,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (policy) layout;
  cfg = config.paranoid.amnesia;
  boot = config.paranoid.boot;
  # That module imports this one, and need not be there.
  noexec = config.paranoid.noexec.enable or false;

  declared =
    (import ../lib/filesystems.nix {
      inherit policy;
      inherit (cfg) size;
      inherit (boot) firmware;
    }).fileSystems;

  persist = layout.persist.root;
  hasPersistence = options.environment ? persistence;

  # Forced as a whole: hardware-configuration.nix says some of the same, and lists add
  # up. What NixOS itself adds to a file system of the initrd would be lost by that,
  # and the machine would not boot: it is said here.
  optionsOf =
    mount:
    lib.mkForce (
      lib.optional mount.neededForBoot "x-initrd.mount"
      ++ (if noexec then mount.options else lib.remove "noexec" mount.options)
    );

  # On a partition of its own the persist root is no bind of a place onto itself; with
  # that option mount would look for a directory in the device's stead.
  kept =
    mountPoint: mountOptions:
    if config.fileSystems.${mountPoint}.fsType == "none" then
      mountOptions
    else
      lib.remove "bind" mountOptions;

  fileSystem =
    mountPoint:
    let
      mount = declared.${mountPoint};
    in
    {
      # Above NixOS's own defaults, below what hardware-configuration.nix says.
      device = lib.mkOverride 900 mount.device;
      fsType = lib.mkOverride 900 mount.fsType;
      options = optionsOf (mount // { options = kept mountPoint mount.options; });
      inherit (mount) neededForBoot;
    };

  encrypted = swap: swap.randomEncryption.enable || lib.hasPrefix "/dev/zram" swap.device;
in
{
  imports = [ ./boot.nix ];

  options.paranoid.amnesia = {
    enable = lib.mkEnableOption ''
      the volatile root: / is a tmpfs, and only what is listed comes back after a boot.
      What an intruder leaves behind is gone, and what the machine needs is known. Breaks
      every program that keeps something outside /srv, /var/lib, /var/log and /etc/nixos:
      add its directory to `environment.persistence."${persist}".directories`'';

    size = lib.mkOption {
      type = lib.types.strMatching "[1-9][0-9]*[kKmMgGtT%]?";
      default = layout.root.size;
      example = "50%";
      description = ''
        Size limit of the root, as tmpfs(5) takes it. It is memory: without a limit a
        process that writes to /tmp takes the machine down, and a full root makes
        services fail.
      '';
    };

    keysFrom = lib.mkOption {
      type = lib.types.str;
      default = "";
      example = "a certificate authority in TrustedUserCAKeys";
      description = ''
        What lets the owner in at the first boot, in words, if it is neither a key nor a password in
        the configuration or of the installer's. The installer refuses a system that lets nobody in;
        with this it takes your word. Wrong words lock you out.
      '';
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = hasPersistence;
            message = ''
              paranoid.amnesia: impermanence is not imported, so nothing would persist.
              Import its nixos.nix, or put it beside the modules as ./impermanence.
            '';
          }
          {
            assertion = config.fileSystems."/".fsType == "tmpfs";
            message = ''
              paranoid.amnesia: / is of type ${config.fileSystems."/".fsType}, not tmpfs, and would
              remember. Remove fileSystems."/" from the configuration, or switch off
              paranoid.amnesia.
            '';
          }
          {
            assertion = lib.all encrypted config.swapDevices;
            message = ''
              paranoid.amnesia: what is in memory would be written to ${
                lib.concatMapStringsSep ", " (swap: swap.device) (
                  lib.filter (swap: !encrypted swap) config.swapDevices
                )
              } in the clear.
              Set swapDevices.*.randomEncryption.enable, or use zramSwap.
            '';
          }
        ];

        fileSystems = {
          "/" = fileSystem "/";
          ${layout.boot.mountPoint} = fileSystem layout.boot.mountPoint;
          ${layout.nix.mountPoint} = fileSystem layout.nix.mountPoint;
          # Onto itself: the mounts that persistence makes from it have no options of
          # their own, and inherit these.
          ${persist} = fileSystem persist;
        };

        # sudo would greet everybody as if for the first time, after each boot.
        security.sudo.extraConfig = "Defaults lecture = never";

        # What the installer compares with the disk that it has laid out.
        environment.etc."paranoid/layout.json".text = builtins.toJSON {
          version = 1;
          inherit (boot) firmware;
          tmpfsSize = cfg.size;
          labels = {
            boot = layout.boot.label;
            nix = layout.nix.label;
          };
          authorizedKeysDirectory = layout.persist.authorizedKeys;
          passwordsDirectory = layout.persist.passwords;
          bootDevice = boot.device;
          inherit (cfg) keysFrom;
        };
      }
      (lib.optionalAttrs hasPersistence {
        environment.persistence.${persist} = {
          hideMounts = true;
          directories = map (directory: {
            directory = directory.path;
            inherit (directory) mode;
          }) layout.persist.directories;
          inherit (layout.persist) files;
        };
      })
    ]
  );
}
