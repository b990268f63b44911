#!/bin/sh
# The first process: loads what the devices need, finds the root file system, fills it at the first boot, and goes there.
# Without such a disk (a kernel that was booted directly) everything happens in memory.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
# In the order in which they lean on each other.
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk \
    failover net_failover virtio_net virtio-rng virtio_console button evdev pvpanic pvpanic-mmio; do
    insmod "/lib/modules/$module.ko" 2>/dev/null
done
echo 1 >/proc/sys/kernel/printk

root=
if ! grep -q 'nephele.root=memory' /proc/cmdline; then
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        # The boot disk stands first: a second disk with a copy of this file system is not taken for it.
        for disk in /dev/vda2 /dev/sda2 /dev/nvme0n1p2; do
            [ -b "$disk" ] && root=$disk && break 2
        done
        [ -b /dev/vda ] && break
        usleep 50000
    done
fi
if [ -n "$root" ] && mount -t ext4 "$root" /mnt; then
    if [ ! -e /mnt/etc/nephele-release ]; then
        for folder in bin sbin usr lib lib64 etc root var home; do
            [ -e "/$folder" ] && cp -a "/$folder" /mnt/
        done
        mkdir -p /mnt/proc /mnt/sys /mnt/dev /mnt/run /mnt/tmp /mnt/mnt
        chmod 1777 /mnt/tmp
        rm -rf /mnt/lib/modules
        sync
        echo 'nephele-micro 1' >/mnt/etc/nephele-release
    fi
    for place in proc sys dev; do mount --move "/$place" "/mnt/$place"; done
    exec switch_root /mnt /bin/busybox init
fi
exec /bin/busybox init
