#!/bin/sh
# Run once by init: devices, network, what the metadata service says, the SSH server, the user data.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
say() { echo "nephele-micro: $*" >/dev/console; }
mounted() { grep -q " $1 " /proc/mounts 2>/dev/null; }
up() { cut -d' ' -f1 /proc/uptime; }

# A container brings some of these with it.
mounted /proc || mount -t proc proc /proc
mounted /sys || mount -t sysfs sys /sys 2>/dev/null
mkdir -p /dev/pts /run /var/lib/nephele
mounted /dev/pts || mount -t devpts devpts /dev/pts 2>/dev/null
mounted /run || mount -t tmpfs tmpfs /run
mkdir -p /run/nephele /dev/disk/by-id
# Nobody logs in at these: whoever reaches the console owns the machine. A container may lack one of them.
for terminal in ttyS0 tty1; do [ -c /dev/$terminal ] || ln -sf /dev/null /dev/$terminal; done
hostname nephele
ip link set lo up
say "up at $(up) s, kernel $(uname -r)"

[ -d /proc/acpi ] && acpid -c /etc/acpi -p /run/acpid.pid -l /dev/null 2>/dev/null
# The cards first: what they ask for takes its time.
for card in /sys/class/net/*; do
    card=${card##*/}
    [ "$card" = lo ] || ACTION=add SUBSYSTEM=net INTERFACE=$card hotplug
done
for disk in /sys/class/block/*; do [ -e "$disk" ] && ACTION=add SUBSYSTEM=block DEVNAME=${disk##*/} hotplug; done
uevent /sbin/hotplug >/dev/null 2>&1 &

first=$(ls /sys/class/net | grep -v '^lo$' | grep -v '^sit\|^tunl' | head -n 1)
if [ -z "$first" ]; then
    say "no network card; ready at $(up) s"
    exit 0
fi
tries=0
while [ ! -s /run/nephele/lease ] && [ $tries -lt 1500 ]; do usleep 20000; tries=$((tries + 1)); done
say "lease at $(up) s"
tries=0
until id=$(imds meta-data/instance-id) && [ -n "$id" ]; do
    tries=$((tries + 1))
    if [ $tries -ge 20 ]; then say "no metadata service answers; ready at $(up) s"; exit 0; fi
    sleep 1
done
say "instance $id at $(up) s"
name=$(imds meta-data/local-hostname) && [ -n "$name" ] && hostname "${name%%.*}"

mkdir -p "$HOME/.ssh"
chmod 700 "$HOME" "$HOME/.ssh"
for number in $(imds meta-data/public-keys/ | cut -d= -f1); do
    imds "meta-data/public-keys/$number/openssh-key"
    echo
done | grep . >"$HOME/.ssh/authorized_keys"
chmod 600 "$HOME/.ssh/authorized_keys"

new=
if [ "$(cat /var/lib/nephele/instance 2>/dev/null)" != "$id" ]; then
    # A disk that came from another instance's image: host keys are nobody else's.
    new=1
    rm -f /etc/dropbear/*_host_key
fi
mkdir -p /etc/dropbear
# Keys are made when the first client asks; passwords are not taken.
dropbear -R -s -P /run/dropbear.pid && say "SSH server at $(up) s"

if [ -n "$new" ]; then
    imds user-data >/run/nephele/user-data 2>/dev/null
    if [ "$(head -c 2 /run/nephele/user-data | xxd -p)" = 1f8b ]; then
        gunzip </run/nephele/user-data >/run/nephele/plain && mv /run/nephele/plain /run/nephele/user-data
    fi
    if [ "$(head -c 2 /run/nephele/user-data)" = '#!' ]; then
        chmod 700 /run/nephele/user-data
        say "user data begins at $(up) s"
        /run/nephele/user-data </dev/null >/dev/console 2>&1
        say "user data ended with $? at $(up) s"
    fi
    echo "$id" >/var/lib/nephele/instance
    sync
fi
say "ready at $(up) s"
