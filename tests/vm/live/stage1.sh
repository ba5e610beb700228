#!/bin/sh
# First stage of the live system: load modules, find the images by the serial number of
# their virtio disks, lay a writable tmpfs over the root, hand over to live/stage2.sh.
# The initrd of the test image has /medium.sh, which finds them elsewhere and starts systemd.
/bin/busybox --install -s /bin
export PATH=/bin

fail() {
  echo "live stage 1: $1"
  reboot -f
}

# disk IMAGE: the device of the virtio disk that has this serial number.
disk() {
  for file in /sys/block/vd*/serial; do
    [ "$(cat "$file")" != "$1" ] || { basename "$(dirname "$file")"; return 0; }
  done
  return 1
}

hand_over() {
  exec switch_root /sysroot /bin/bash /project/tests/vm/live/stage2.sh
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec > /dev/console 2>&1

while read -r module; do
  insmod "/lib/modules/current/$module" || echo "live stage 1: $module not loaded"
done < /lib/modules/load-order
# shellcheck disable=SC1091 # it lies there in the initrd
[ ! -e /medium.sh ] || . /medium.sh

for image in live-root live-store live-project; do
  # Drivers probe in the background and there is no udev yet: look until time is up.
  deadline=$(($(cut -d. -f1 /proc/uptime) + 30))
  until device=$(disk $image); do
    [ "$(cut -d. -f1 /proc/uptime)" -lt $deadline ] || fail "no $image after 30 s"
    usleep 50000
  done
  mkdir -p /images/$image
  mount -t squashfs -o ro "/dev/$device" /images/$image || fail "cannot mount $image"
done

mkdir -p /writable
mount -t tmpfs -o mode=755 tmpfs /writable
mkdir -p /writable/upper /writable/work
mount -t overlay -o lowerdir=/images/live-root,upperdir=/writable/upper,workdir=/writable/work \
  overlay /sysroot || fail "cannot lay the overlay"

# /nix/store is put together as a NixOS live image does it: the read-only image below, a
# tmpfs above.
mkdir -p /sysroot/nix/.ro-store /sysroot/nix/.rw-store /sysroot/nix/store /sysroot/project
mount -o move /images/live-store /sysroot/nix/.ro-store
mount -t tmpfs -o mode=755 tmpfs /sysroot/nix/.rw-store
mkdir -p /sysroot/nix/.rw-store/store /sysroot/nix/.rw-store/work
mount -t overlay \
  -o lowerdir=/sysroot/nix/.ro-store,upperdir=/sysroot/nix/.rw-store/store,workdir=/sysroot/nix/.rw-store/work \
  overlay /sysroot/nix/store || fail "cannot lay the store's overlay"
mount -o move /images/live-project /sysroot/project
# In sight of the installer, which must not take the disk it runs from.
mkdir -p /sysroot/media/live
mount -o move /images/live-root /sysroot/media/live

for directory in proc sys dev; do
  mount -o move /$directory /sysroot/$directory
done
hand_over
