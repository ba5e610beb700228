#!/bin/sh
# minios' second stage: activate this system, then run busybox's init as PID 1.
export PATH=@busybox@/bin
@toplevel@/activate || echo "minios: activation failed"
exec @busybox@/bin/init
