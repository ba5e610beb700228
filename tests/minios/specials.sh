# shellcheck shell=sh
# The mounts that are not on the disk, with the policy's options. A line of etc/specials:
# TARGET<tab>OPTIONS.
while IFS='	' read -r target options; do
  if grep -qF " $target " /proc/self/mounts; then
    mount -o "remount,$options" "$target"
  else
    mkdir -p "$target"
    case $target in
      /dev/pts) mount -t devpts -o "$options" devpts "$target" ;;
      /dev/shm) mount -t tmpfs -o "$options,mode=1777" tmpfs "$target" ;;
      *) mount -t tmpfs -o "$options,mode=755" tmpfs "$target" ;;
    esac
  fi || echo "minios: cannot mount $target ($options)"
done < @toplevel@/etc/specials
