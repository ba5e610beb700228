#!/bin/sh
# Make the root file system that of this system: Debian's programs are where they expect
# themselves to be, by links into the store. Runs at each boot and in nixos-enter; doing it
# twice is doing it once.
set -e
export PATH=@busybox@/bin

mkdir -p /etc /root /run /tmp /var/tmp
chmod 700 /root
chmod 1777 /tmp /var/tmp
ln -sfn @toplevel@ /run/current-system
ln -sfn @userland@/usr /usr
for name in bin sbin lib lib64; do
  ln -sfn "usr/$name" "/$name"
done

# Copies, since auditd and others refuse a link, and a store path's mode is 444.
# tar replaces what is there, links too.
tar -c -C @userland@/etc . | tar -x -C /etc
tar -c -h -C @toplevel@/etc/ . | tar -x -C /etc
find /etc -xdev ! -type l -exec chmod u+w {} +
# What is configured is newer than what the packages brought: nothing is to be updated.
touch /etc/.updated /var/.updated

hash='!'
[ ! -s @passwords@/root ] || read -r hash < @passwords@/root
sed -i "s|^root:[^:]*:|root:$hash:|" /etc/shadow
chmod 600 /etc/shadow

# A user without a number of its own gets a free one, and keeps it for as long as the map does
# (update-users-groups.pl of NixOS). It is drawn, so that without the map it would be another.
map=/var/lib/nixos/uid-map
if [ ! -s $map ]; then
  mkdir -p /var/lib/nixos
  echo "{\"unnumbered\":$(shuf -n 1 -i 400-899)}" > $map.new
  mv $map.new $map
fi
uid=$(sed 's/.*:\([0-9]*\)}/\1/' $map)
echo "unnumbered:x:$uid:65534::/var/empty:/usr/sbin/nologin" >> /etc/passwd
chmod 640 /etc/audit/auditd.conf
