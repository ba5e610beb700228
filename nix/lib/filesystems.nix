# What is mounted where, from the policy alone: the disk's file systems, the
# special mounts that NixOS makes itself, and what is kept on the persist root.
#
#   size      of the volatile root, as tmpfs(5) takes it ("2G", "50%")
#   firmware  "bios" or "uefi": decides what /boot is
{
  policy,
  size ? policy.layout.root.size,
  firmware ? "bios",
}:
let
  inherit (policy) layout;
  byLabel = label: "/dev/disk/by-label/${label}";
  # A bind mount of a place onto itself, which gives it flags of its own.
  self = path: options: {
    device = path;
    fsType = "none";
    options = [ "bind" ] ++ options;
    neededForBoot = true;
  };
  boot = layout.boot.${firmware};
in
{
  fileSystems = {
    "/" = {
      inherit (layout.root) device fsType;
      options = [
        "size=${size}"
        "mode=${layout.root.mode}"
      ]
      ++ layout.root.options;
      neededForBoot = true;
    };
    ${layout.boot.mountPoint} = {
      device = byLabel layout.boot.label;
      inherit (boot) fsType;
      # A damaged ESP must not end in an emergency shell that nobody may enter: the system runs
      # without it.
      options = layout.boot.options ++ boot.options ++ [ "nofail" ];
      neededForBoot = false;
    };
    ${layout.nix.mountPoint} = {
      device = byLabel layout.nix.label;
      inherit (layout.nix) fsType options;
      neededForBoot = true;
    };
    ${layout.store.mountPoint} = self layout.store.mountPoint layout.store.options;
    ${layout.persist.root} = self layout.persist.root layout.persist.options;
  };

  special = builtins.listToAttrs (
    map (mount: {
      name = mount.path;
      value = { inherit (mount) options; };
    }) policy.mounts.special
  );

  persisted = map (directory: {
    source = "${layout.persist.root}${directory.path}";
    target = directory.path;
    inherit (directory) mode;
  }) layout.persist.directories;
}
