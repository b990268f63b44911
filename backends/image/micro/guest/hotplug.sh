#!/bin/sh
# A device came or went: cards are given their lease, disks a name by their serial number.
case "$SUBSYSTEM:$ACTION" in
net:add)
    case "$INTERFACE" in eth*) ;; *) exit 0 ;; esac
    pid=/run/udhcpc.$INTERFACE.pid
    [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null && exit 0
    ip link set "$INTERFACE" up
    udhcpc -b -i "$INTERFACE" -p "$pid" -O staticroutes -O mtu -t 600 -T 1 -A 1 -s /usr/share/udhcpc/default.script \
        >/dev/null 2>&1 &
    ;;
net:remove)
    pid=/run/udhcpc.$INTERFACE.pid
    [ -e "$pid" ] && kill "$(cat "$pid")" && rm -f "$pid"
    echo "nephele-micro: $INTERFACE is gone" >/dev/console
    ;;
block:add | block:change)
    serial=$(cat "/sys/class/block/$DEVNAME/serial" 2>/dev/null)
    [ -n "$serial" ] || exit 0
    ln -sf "/dev/$DEVNAME" "/dev/disk/by-id/virtio-$serial"
    echo "nephele-micro: disk $DEVNAME is $serial, $(cat "/sys/class/block/$DEVNAME/size") sectors" >/dev/console
    ;;
block:remove)
    for link in /dev/disk/by-id/*; do
        [ -h "$link" ] && [ "$(readlink "$link")" = "/dev/$DEVNAME" ] && rm -f "$link" &&
            echo "nephele-micro: disk $DEVNAME is gone" >/dev/console
    done
    ;;
esac
exit 0
