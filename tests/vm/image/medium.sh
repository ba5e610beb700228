#!/bin/sh
# The test image's part of live/stage1.sh: the images are files on the medium that this
# initrd came from, and systemd is PID 1, with the units of the real image.

while read -r module; do
  # What an installed disk needs as well is loaded already.
  [ ! -d "/sys/module/${module%%.*}" ] || continue
  insmod "/lib/modules/medium/$module" || echo "medium: $module not loaded"
done < /lib/modules/medium/load-order

# An optical drive, or a stick, which is a disk like any other. Its label would not do: the
# HFS+ partition of a hybrid image has the same.
mount_medium() {
  mkdir -p /medium
  for device in /dev/sr[0-9] /dev/[sv]d[a-z]; do
    mount -t iso9660 -o ro "$device" /medium || continue
    [ ! -e /medium/images ] || return 0
    umount /medium
  done
  return 1
}

# disk IMAGE: a loop device of the image's file; its name alone, as stage1.sh takes it.
disk() {
  [ -e /medium/images ] || mount_medium 2> /dev/null || return 1
  loop=$(losetup -f)
  losetup -r "$loop" "/medium/images/$1.squashfs" && basename "$loop"
}

hand_over() {
  # Where NixOS has its medium, and in sight of the installer.
  mkdir -p /sysroot/iso
  mount -o move /medium /sysroot/iso
  cp -a /image/. /sysroot/
  exec switch_root /sysroot /sbin/init
}
