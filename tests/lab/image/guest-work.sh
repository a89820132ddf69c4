#!/bin/sh
# What a lab guest does: one network interface, a disk if it has one, the check of the emulator,
# further processes, the workload.
for argument in $(cat /proc/cmdline); do
    case "$argument" in
    lab.ip=*) ip=${argument#lab.ip=} ;;
    lab.memory=*) memory=${argument#lab.memory=} ;;
    lab.hot=*) hot=${argument#lab.hot=} ;;
    lab.writes=*) writes=${argument#lab.writes=} ;;
    lab.disk=*) disk=${argument#lab.disk=} ;;
    lab.process=*) processes="$processes ${argument#lab.process=}" ;;
    lab.cache=*) cache=${argument#lab.cache=} ;;
    lab.agent) agent=yes ;;
    lab.agent=*) agent=${argument#lab.agent=} ;;
    lab.simd=*) simd=${argument#lab.simd=} ;;
    esac
done
for module in $(cat /lab/modules/order); do
    insmod "/lab/modules/$module.ko" || echo "LAB-FAILED cannot load module $module"
done

# $1: what is waited for; the rest: the command that works once it is there.
await() {
    what=$1
    shift
    tries=0
    until "$@" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || echo "LAB-FAILED no $what"
        sleep 0.1
    done
}
ip link set lo up
await "network interface" ip link set eth0 up
ip addr add "$ip/24" dev eth0
[ -z "$disk" ] || await "disk $disk" [ -b "$disk" ]

if ! /lab/bin/simd-check "$simd"; then
    echo "LAB-FAILED the emulator corrupts SIMD registers"
    exit 1
fi
# A guest that helps to move it. A doomed agent is killed in the middle of that, a hung one stopped, a
# stuck one before anything begins. What dies is not started again.
case "$agent" in
doomed) signal=KILL ;;
hung) signal=STOP ;;
esac
if [ -n "$signal" ]; then
    mkdir -p /etc/xend-agent/prepare.d
    printf '#!/bin/sh\n(sleep 5; kill -%s %s) &\n' "$signal" '$PPID' >/etc/xend-agent/prepare.d/doom
    chmod 755 /etc/xend-agent/prepare.d/doom
fi
if [ -n "$agent" ]; then
    /lab/bin/xend-agent &
    pid=$!
    [ "$agent" != stuck ] || (sleep 5; kill -STOP $pid) &
fi
# ROLE:MIB:PAGES_PER_S:PORT each.
for process in $processes; do
    # shellcheck disable=SC2046
    /lab/bin/guest-process $(echo "$process" | tr : ' ') &
done
# So many MiB of the disk into the page cache, clean. Whoever closes a disk last drops what is cached of it.
[ -z "$cache" ] || exec 3<"$disk"
[ -z "$cache" ] || dd if="$disk" of=/dev/null bs=1M count="$cache" 2>/dev/null ||
    echo "LAB-FAILED cannot read the disk"
/lab/bin/guest-workload --memory-mib "$memory" --hot-mib "$hot" --writes-per-s "$writes" \
    ${disk:+--disk "$disk"}
echo "LAB-FAILED the workload ended with status $?"
