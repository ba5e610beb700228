#!/bin/sh
# Once a boot: the special mounts, then the report; the machine powers off after a job.
export PATH=@busybox@/bin

# shellcheck disable=SC1091 # it lies there on the machine
. @toplevel@/specials
grep -qF ' /run ' /proc/self/mounts || mount -t tmpfs -o nosuid,nodev,noexec,mode=755 tmpfs /run
ln -sfn @toplevel@ /run/current-system
hostname -F /etc/hostname

# shellcheck disable=SC1091 # it lies there on the machine
. @toplevel@/report
sync
mount -o remount,ro /nix
mount -o remount,ro /boot
poweroff -f
