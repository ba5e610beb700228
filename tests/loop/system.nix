# The smallest system that nixos-install can install: a toplevel whose switch-to-configuration
# writes a boot entry with busybox. It is installed and looked at, never booted. Built with the
# sandbox off, by the machine's own tools.
{ busybox, firmware, keys }:
let
  tool = builtins.path {
    path = busybox;
    name = "busybox";
  };
in
derivation {
  name = "nixos-system-loop-test";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [
    "-c"
    ''
      PATH=/usr/bin:/bin
      mkdir -p $out/sw/bin $out/bin $out/etc/paranoid $out/etc/ssh/authorized_keys.d
      cp ${tool} $out/bin/busybox
      printf '%s' "$layout" > $out/etc/paranoid/layout.json
      printf '%s' "$keys" > $out/etc/ssh/authorized_keys.d/root
      printf '#!%s sh\n' "$out/bin/busybox" > $out/init
      printf '#!%s sh\nbb=%s\n%s' "$out/bin/busybox" "$out/bin/busybox" "$switch" \
        > $out/bin/switch-to-configuration
      printf '#!%s sh\n%s mkdir -p /run\n%s ln -sfn %s /run/current-system\n' \
        "$out/bin/busybox" "$out/bin/busybox" "$out/bin/busybox" "$out" > $out/activate
      for name in sh umount; do ln -s $out/bin/busybox $out/sw/bin/$name; done
      printf '#!%s sh\nbb=%s\n%s' "$out/bin/busybox" "$out/bin/busybox" "$mount" > $out/sw/bin/mount
      printf '#!%s sh\nout=%s\n%s' "$out/bin/busybox" "$out" "$bash" > $out/sw/bin/bash
      chmod +x $out/sw/bin/bash $out/sw/bin/mount $out/activate $out/bin/busybox $out/init $out/bin/switch-to-configuration
    ''
  ];
  inherit keys;
  switch = ''
    set -e
    case "$1:$NIXOS_INSTALL_BOOTLOADER" in
      boot:1)
        $bb mkdir -p /boot/grub
        printf 'menuentry loop-test {\n}\n' > /boot/grub/grub.cfg
        ;;
      *) exit 1 ;;
    esac
  '';
  # This shell takes its own applets before PATH, unless a function stands before them.
  bash = ''
    if [ "$1" = -c ]; then
      exec "$out/bin/busybox" sh -c "
        mount() { $out/sw/bin/mount \"\$@\"; }
        umount() { for last; do :; done; $out/bin/busybox umount -l \"\$last\"; }
        $2"
    fi
    exec "$out/bin/busybox" sh "$@"
  '';
  # util-linux's mount makes the mount point when asked, and its umount goes down a tree;
  # busybox's know neither word.
  mount = ''
    for last; do :; done
    for word; do
      shift
      if [ "$word" = --mkdir ]; then "$bb" mkdir -p "$last"; else set -- "$@" "$word"; fi
    done
    exec "$bb" mount "$@"
  '';
  layout = builtins.toJSON {
    version = 1;
    inherit firmware;
    tmpfsSize = "2G";
    labels = {
      boot = "boot";
      nix = "nix";
    };
    authorizedKeysDirectory = "/nix/persist/etc/ssh/authorized_keys.d";
    passwordsDirectory = "/nix/persist/etc/passwords";
    bootDevice = "nodev";
  };
}
