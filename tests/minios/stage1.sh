#!/bin/sh
# minios' first stage: load modules, mount what /etc/mounts says below /sysroot, hand over
# to the init that the kernel command line names.
/bin/busybox mkdir -p /bin /run
/bin/busybox --install -s /bin
export PATH=/bin
# shellcheck disable=SC1091 # it lies there in the initrd
. /etc/mount-table.sh

fail() {
  echo "minios stage 1: $1"
  # The console is all there is to tell it; with -no-reboot QEMU ends here.
  reboot -f
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# What is printed goes to the console that the kernel was given last.
exec > /dev/console 2>&1

while read -r module; do
  insmod "/lib/modules/current/$module" || echo "minios stage 1: $module not loaded"
done < /lib/modules/load-order

# There is no udev here to wait for: look until the devices are there or time is up.
# shellcheck disable=SC2013 # no spaces in these
for device in $(cut -f1 /etc/mounts | grep -E '^(LABEL|UUID)='); do
  deadline=$(($(cut -d. -f1 /proc/uptime) + 30))
  until findfs "$device" > /dev/null 2>&1; do
    [ "$(cut -d. -f1 /proc/uptime)" -lt "$deadline" ] || fail "no file system $device after 30 s"
    usleep 50000
  done
done

mount_table /etc/mounts /sysroot || fail "a file system is missing"

init=$(tr ' ' '\n' < /proc/cmdline | sed -n 's/^init=//p')
[ -x "/sysroot$init" ] || fail "init=$init is not there"

for directory in proc sys dev; do
  mkdir -p "/sysroot/$directory"
  mount -o move "/$directory" "/sysroot/$directory"
done
exec switch_root /sysroot "$init"
