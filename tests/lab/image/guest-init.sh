#!/bin/sh
# First process of a lab guest: what every program needs, then busybox init, which knows what
# /sbin/poweroff and /sbin/reboot want of it: so does the kernel when the toolstack asks.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# Every key, for tests that crash it.
echo 1 >/proc/sys/kernel/sysrq
exec /sbin/init
