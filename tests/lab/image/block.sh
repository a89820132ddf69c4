#!/bin/sh
# Hotplug script of guest disks: a block device as it is, a file through a loop device. Debian's
# own needs bash. Unlike that one it does not look whether another guest has the device.
#   add, remove
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

fail() {
    xenstore-write "$XENBUS_PATH/hotplug-error" "$*" "$XENBUS_PATH/hotplug-status" error
    echo "block: $*" >&2
    exit 1
}

connect() {
    xenstore-write "$XENBUS_PATH/physical-device" "$(stat -L -c %t:%T "$1")" \
        "$XENBUS_PATH/physical-device-path" "$1" "$XENBUS_PATH/hotplug-status" connected ||
        fail "Writing $XENBUS_PATH to xenstore failed"
}

case "$1" in
add)
    # It may be called twice.
    xenstore-exists "$XENBUS_PATH/physical-device" && exit 0
    params=$(xenstore-read "$XENBUS_PATH/params") || fail "xenstore-read $XENBUS_PATH/params failed"
    case "$params" in
    /*) device=$params ;;
    *) device=/dev/$params ;;
    esac
    if [ -b "$device" ]; then
        connect "$device"
    elif [ -f "$device" ]; then
        case "$(xenstore-read "$XENBUS_PATH/mode")" in
        w*) read_only= ;;
        *) read_only=-r ;;
        esac
        loop=$(losetup -f) || fail "Failed to find an unused loop device"
        losetup $read_only "$loop" "$device" || fail "losetup $loop $device failed"
        xenstore-write "$XENBUS_PATH/node" "$loop"
        connect "$loop"
    elif [ -e "$device" ]; then
        fail "$device is not a block device."
    else
        fail "$device does not exist."
    fi
    ;;
remove)
    loop=$(xenstore-read "$XENBUS_PATH/node" 2>/dev/null) && losetup -d "$loop"
    ;;
esac
exit 0
