#!/bin/sh
# What NixOS's stage 2 does, as far as this system has it; then Debian's systemd is PID 1.
export PATH=@busybox@/bin
# shellcheck disable=SC1091 # it lies there on the machine
. @toplevel@/specials
@toplevel@/activate || echo "minios: activation failed"
# As boot.readOnlyNixStore does: what executes can't be written.
mount -o remount,bind,ro,nosuid,nodev /nix/store
exec /usr/lib/systemd/systemd "$@"
