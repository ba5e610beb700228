#!/bin/sh
# Make the root file system that of this system. Runs at each boot and in nixos-enter;
# doing it twice is doing it once.
set -e
export PATH=@busybox@/bin

mkdir -p /bin /etc /root /run /tmp /usr/bin /var
chmod 700 /root
chmod 1777 /tmp
ln -sfn @toplevel@ /run/current-system
ln -sf @busybox@/bin/sh /bin/sh
ln -sf @busybox@/bin/env /usr/bin/env

ln -sfn @toplevel@/etc /etc/static
(cd @toplevel@/etc/ && find . -type f -o -type l) | while read -r file; do
  mkdir -p "/etc/$(dirname "$file")"
  ln -sf "/etc/static/$file" "/etc/$file"
done

hash='!'
[ ! -s @passwords@/root ] || read -r hash < @passwords@/root
umask 077
echo "root:$hash:1::::::" > /etc/shadow
umask 022
echo "root:x:0:0:root:/root:@busybox@/bin/sh" > /etc/passwd
echo "root:x:0:" > /etc/group
