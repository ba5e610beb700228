#!/bin/bash
# Second stage of the live system, PID 1: what systemd does on a NixOS live image, as far
# as an install needs it. Then the job that the harness gave by QEMU's fw_cfg runs; what it
# leaves in $OUT goes back as a tar stream on the virtio port paranoid.results, with its
# output and exit code. Then the machine powers off, whatever happened.
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
export HOME=/root LC_ALL=C.UTF-8

mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
[ ! -d /sys/firmware/efi ] || mount -t efivarfs efivarfs /sys/firmware/efi/efivars

ln -s /proc/self/fd /dev/fd
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add --type=subsystems
udevadm trigger --action=add --type=devices
udevadm settle --timeout=60
echo "live: devices settled after $(cut -d' ' -f1 /proc/uptime) s"

bash /project/tests/vm/live/prepare.sh

export OUT=/run/results
mkdir $OUT
fw_cfg=/sys/firmware/qemu_fw_cfg/by_name/opt/paranoid
cat $fw_cfg/job/raw > /run/job
cd /root || exit 1
bash /run/job 2>&1 | tee $OUT/job-output
echo "${PIPESTATUS[0]}" > $OUT/job-exit-code
echo "live: job ended with $(cat $OUT/job-exit-code) after $(cut -d' ' -f1 /proc/uptime) s"
findmnt --raw > $OUT/mounts-after
tar -c -C $OUT -f /dev/virtio-ports/paranoid.results .
sync
busybox poweroff -f
