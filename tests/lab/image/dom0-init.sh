#!/bin/sh
# First process of a lab host's Dom0. Sets the machine up, says on the console how that went, and
# leaves the rest to busybox init: no shell of ours is PID 1, because a child that ends it would
# bring Dom0 down.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/xen-4.17/bin:/lab/bin

fail() {
    echo "LAB-FAILED $*" >/dev/console
    exec /bin/sleep 86400
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/lab /run/xen /run/xenstored /run/lock

for argument in $(cat /proc/cmdline); do
    case "$argument" in
    lab.name=*) name=${argument#lab.name=} ;;
    lab.ip=*) ip=${argument#lab.ip=} ;;
    lab.mac=*) link_mac=${argument#lab.mac=} ;;
    esac
done
hostname "$name"

for module in $(cat /lab/modules/order); do
    insmod "/lab/modules/$module.ko" || fail "cannot load module $module"
done
mount -t xenfs xenfs /proc/xen || fail "cannot mount xenfs"

# The link that guests and migrations use, and the command network, told apart by address.
link=
command=
for path in /sys/class/net/eth*; do
    if [ "$(cat "$path/address")" = "$link_mac" ]; then link=${path##*/}; else command=${path##*/}; fi
done
[ -n "$link" ] && [ -n "$command" ] || fail "the two network cards are not there"
ip link set lo up
brctl addbr xenbr0
brctl addif xenbr0 "$link"
ip link set "$link" up
ip link set xenbr0 address "$link_mac"
ip addr add "$ip/24" dev xenbr0
ip link set xenbr0 up
ip addr add 10.0.2.15/24 dev "$command"
ip link set "$command" up

xenstored --pid-file /run/xen/xenstored.pid || fail "xenstored does not start"
tries=0
until xenstore-ls / >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || fail "xenstored does not answer"
    sleep 0.1
done
xen-init-dom0 >/dev/null || fail "xen-init-dom0 failed"
xenconsoled --pid-file=/run/xen/xenconsoled.pid --log=all --log-dir=/var/log/xen ||
    fail "xenconsoled does not start"

echo "LAB-READY" >/dev/console
exec /sbin/init
