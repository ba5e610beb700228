#!/bin/sh
# The boot loader part of NixOS's program of this name: kernels and boot entries for every
# generation of the system profile and, with NIXOS_INSTALL_BOOTLOADER=1, the loader itself.
#   BIOS  GRUB: /boot/kernels, /boot/grub/grub.cfg; grub-install on the configured device,
#         none when that is "nodev" (whoever installs does it then)
#   UEFI  systemd-boot at the removable path; no EFI variable is touched
# The specialisations of a generation come after it. Where there is one, the menu is shown.
set -e
export PATH=@busybox@/bin

case "$1" in
  boot | switch) ;;
  *)
    echo "usage: switch-to-configuration boot|switch (this test system has nothing to switch)" >&2
    exit 1
    ;;
esac
[ -e /etc/NIXOS ] || { echo "this is not a NixOS installation (no /etc/NIXOS)" >&2; exit 1; }

profile=/nix/var/nix/profiles/system
firmware=@firmware@
boot_device=@bootDevice@
limit=10

# NixOS's own; with nothing to choose, a test need not wait.
timeout=0
for special in "$profile"/specialisation/*; do
  [ ! -e "$special" ] || timeout=5
done

# Newest first: "NUMBER STOREPATH".
generations() {
  for link in "$profile"-*-link; do
    [ -e "$link" ] || continue
    number=${link#"$profile"-}
    echo "${number%-link} $(readlink -f "$link")"
  done | sort -rn | head -n $limit
}

# systems: what can be booted, "NUMBER NAME STOREPATH"; NAME is - where it is no specialisation.
systems() {
  generations | while read -r number system; do
    echo "$number - $system"
    for special in "$system"/specialisation/*; do
      [ ! -e "$special" ] || echo "$number $(basename "$special") $(readlink -f "$special")"
    done
  done
}

# copy FILE DIRECTORY: into place under a name made of its store path; prints the name.
copy() {
  real=$(readlink -f "$1")
  name=$(echo "${real#/nix/store/}" | tr '/' '-')
  if [ ! -e "$2/$name" ]; then
    cp "$real" "$2/.new"
    sync "$2/.new"
    mv "$2/.new" "$2/$name"
  fi
  echo "$name" >> /tmp/kept-kernels
  echo "$name"
}

# replace FILE: standard input becomes FILE, whole or not at all.
replace() {
  cat > "$1.new"
  sync "$1.new"
  mv "$1.new" "$1"
}

: > /tmp/kept-kernels

install_bios() {
  mkdir -p /boot/kernels /boot/grub
  {
    echo "serial --unit=0 --speed=115200"
    echo "terminal_output console serial"
    echo "set timeout=$timeout"
    echo "set default=0"
    echo "search --no-floppy --label @bootLabel@ --set=root"
    systems | while read -r number name system; do
      kernel=$(copy "$system/kernel" /boot/kernels)
      initrd=$(copy "$system/initrd" /boot/kernels)
      title="configuration $number"
      [ "$name" = - ] || title="$name - configuration $number"
      echo "menuentry \"minios - $title\" {"
      echo "  linux /kernels/$kernel init=$system/init $(cat "$system/kernel-params")"
      echo "  initrd /kernels/$initrd"
      echo "}"
    done
  } | replace /boot/grub/grub.cfg
  if [ "$NIXOS_INSTALL_BOOTLOADER" = 1 ] && [ "$boot_device" != nodev ]; then
    @grub@/bin/grub-install --target=i386-pc --boot-directory=/boot "$boot_device"
  fi
}

install_uefi() {
  mkdir -p /boot/EFI/nixos /boot/EFI/BOOT /boot/loader/entries
  systems | while read -r number name system; do
    kernel=$(copy "$system/kernel" /boot/EFI/nixos)
    initrd=$(copy "$system/initrd" /boot/EFI/nixos)
    file=$number title=minios
    [ "$name" = - ] || file=$number-specialisation-$name title="minios - $name"
    replace "/boot/loader/entries/nixos-generation-$file.conf" << END
title $title
version Generation $number
linux /EFI/nixos/$kernel
initrd /EFI/nixos/$initrd
options init=$system/init $(cat "$system/kernel-params")
END
  done
  newest=$(generations | head -n 1 | cut -d' ' -f1)
  replace /boot/loader/loader.conf << END
timeout $timeout
default nixos-generation-$newest.conf
editor 0
console-mode keep
END
  if [ "$NIXOS_INSTALL_BOOTLOADER" = 1 ]; then
    replace /boot/EFI/BOOT/BOOTX64.EFI < @systemdBoot@/systemd-bootx64.efi
  fi
}

# remove_stale DIRECTORY: kernels that no generation names any more.
remove_stale() {
  for file in "$1"/*; do
    grep -qxF "$(basename "$file")" /tmp/kept-kernels || rm -f "$file"
  done
}

case $firmware in
  bios)
    install_bios
    remove_stale /boot/kernels
    ;;
  uefi)
    install_uefi
    remove_stale /boot/EFI/nixos
    ;;
esac
rm -f /tmp/kept-kernels
sync
