#!/bin/sh
# Hotplug script of guest network interfaces: into the bridge, up, and say so. Debian's own script
# needs `brctl show`, which busybox does not have.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
device=$vif
[ "$type_if" = tap ] && device=$INTERFACE
case "$1" in
online | add)
    ip link set "$device" up
    brctl addif xenbr0 "$device" 2>/dev/null
    [ "$type_if" = tap ] || xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
offline | remove)
    brctl delif xenbr0 "$device" 2>/dev/null
    ip link set "$device" down 2>/dev/null
    ;;
esac
exit 0
