#!/bin/sh
# Hotplug script of guest network interfaces: into the bridge, up, and say so. Debian's own needs
# bash, and `brctl show`, which busybox does not have.
#   online, offline type_if=vif   the back end `$vif`
#   add, remove     type_if=tap   the device model's `$INTERFACE`
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
case "${2#type_if=}.$1" in
tap.add | tap.remove) device=$INTERFACE ;;
vif.online | vif.offline | .online | .offline) device=$vif ;;
*) exit 0 ;; # The other kind's turn.
esac

fail() {
    xenstore-write "$XENBUS_PATH/hotplug-error" "$*" "$XENBUS_PATH/hotplug-status" error
    echo "vif-bridge: $*" >&2
    exit 1
}

bridge=$(xenstore-read "$XENBUS_PATH/bridge" 2>/dev/null) || bridge=xenbr0
case "$1" in
online | add)
    [ -d "/sys/class/net/$bridge/bridge" ] || fail "Could not find bridge device $bridge"
    ip link set "$device" up || fail "Could not bring $device up"
    [ -e "/sys/class/net/$bridge/brif/$device" ] || brctl addif "$bridge" "$device" ||
        fail "Could not add $device to bridge $bridge"
    [ "$1" = add ] || xenstore-write "$XENBUS_PATH/hotplug-status" connected
    ;;
offline | remove)
    brctl delif "$bridge" "$device" 2>/dev/null
    ip link set "$device" down 2>/dev/null
    ;;
esac
exit 0
