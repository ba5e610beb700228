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
      for name in sh mount umount; do ln -s $out/bin/busybox $out/sw/bin/$name; done
      printf '#!%s sh\nexec %s sh "$@"\n' "$out/bin/busybox" "$out/bin/busybox" > $out/sw/bin/bash
      chmod +x $out/sw/bin/bash $out/activate $out/bin/busybox $out/init $out/bin/switch-to-configuration
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
