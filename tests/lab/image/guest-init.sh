#!/bin/sh
# First process of a lab guest: one network interface, the check of the emulator, the workload.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for argument in $(cat /proc/cmdline); do
    case "$argument" in
    lab.ip=*) ip=${argument#lab.ip=} ;;
    lab.memory=*) memory=${argument#lab.memory=} ;;
    lab.hot=*) hot=${argument#lab.hot=} ;;
    lab.writes=*) writes=${argument#lab.writes=} ;;
    lab.simd=*) simd=${argument#lab.simd=} ;;
    esac
done
for module in $(cat /lab/modules/order); do
    insmod "/lab/modules/$module.ko" || echo "LAB-FAILED cannot load module $module"
done
ip link set lo up
tries=0
until ip link set eth0 up 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || echo "LAB-FAILED no network interface"
    sleep 0.1
done
ip addr add "$ip/24" dev eth0

if ! /lab/bin/simd-check "$simd"; then
    echo "LAB-FAILED the emulator corrupts SIMD registers"
    exec sleep 86400
fi
# Not PID 1: if the workload ends, the guest stays to be looked at.
/lab/bin/guest-workload --memory-mib "$memory" --hot-mib "$hot" --writes-per-s "$writes"
echo "LAB-FAILED the workload ended with status $?"
exec sleep 86400
