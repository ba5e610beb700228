# shellcheck shell=sh
# What this boot found, then the job that the test harness gave (QEMU's fw_cfg), if there is
# one. Report and job results go to the harness as a tar stream on the virtio port
# paranoid.results, and whoever reads this powers the machine off. Without a job this is the
# end of that script: the machine stays up, and its console asks for a login.
out=/run/report

boots=0
[ ! -e /var/log/boots ] || read -r boots < /var/log/boots
echo $((boots + 1)) > /var/log/boots

mkdir -p $out/host-keys
cat /proc/self/mountinfo > $out/mountinfo
cat /proc/cmdline > $out/cmdline
cat /etc/machine-id > $out/machine-id 2> $out/machine-id.error
cp /var/log/boots $out/boots
cp @persist@/etc/ssh/*.pub $out/host-keys/
(cd @persist@/etc/ssh && stat -c '%a %U %n' -- *) > $out/host-key-modes
hostname > $out/hostname
readlink /run/current-system > $out/toplevel
find / -xdev > $out/files-root
find /var/log > $out/files-var-log
[ ! -d /var/log/paranoid-install ] || cp -r /var/log/paranoid-install $out/install
for user in @persist@/etc/ssh/authorized_keys.d/*; do
  [ ! -e "$user" ] || { mkdir -p $out/authorized-keys; cp "$user" $out/authorized-keys/; }
done
echo "minios: boot $((boots + 1)), $(grep ' / ' /proc/self/mounts)"

job=/sys/firmware/qemu_fw_cfg/by_name/opt/paranoid/job/raw
[ -e $job ] || exit 0

OUT=$out sh -c ". $job" > $out/job-output 2>&1
echo $? > $out/job-exit-code

# QEMU announces its ports some time after the driver is there; nothing tells of the last one.
port=
tries=30
while [ -z "$port" ] && [ $tries -gt 0 ]; do
  for name in /sys/class/virtio-ports/*/name; do
    [ -e "$name" ] && [ "$(cat "$name")" = paranoid.results ] &&
      port=/dev/$(basename "$(dirname "$name")")
  done
  tries=$((tries - 1))
  [ -n "$port" ] || sleep 1
done
if [ -n "$port" ]; then
  tar -c -C $out -f - . > "$port"
else
  echo "minios: no virtio port paranoid.results to report to"
fi
