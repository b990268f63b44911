#!/bin/sh
# What a lease means for a card: address, routes, and a table of its own, so that what is asked through a card is
# answered through it.
number=${interface#eth}
table=$((100 + number))
case "$1" in
deconfig)
    ip addr flush dev "$interface"
    ip link set "$interface" up
    ;;
bound | renew)
    ip addr add "$ip/${mask:-24}" dev "$interface" 2>/dev/null
    [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
    ip rule del from "$ip" 2>/dev/null
    ip rule add from "$ip" table "$table"
    for hop in $router; do
        ip route replace "$hop" dev "$interface" table "$table"
        ip route replace default via "$hop" dev "$interface" table "$table"
        ip route add default via "$hop" dev "$interface" metric "$table" 2>/dev/null
        break
    done
    set -- $staticroutes
    while [ $# -ge 2 ]; do
        if [ "$2" = 0.0.0.0 ]; then
            ip route replace "$1" dev "$interface" metric "$table"
        else
            ip route replace "$1" via "$2" dev "$interface" metric "$table"
        fi
        shift 2
    done
    if [ "$number" = 0 ]; then
        : >/etc/resolv.conf
        [ -n "$domain" ] && echo "search $domain" >>/etc/resolv.conf
        for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    fi
    mkdir -p /run/nephele
    echo "$interface $ip" >>/run/nephele/lease
    echo "nephele-micro: $interface has $ip/$mask, router $router, dns $dns" >/dev/console
    ;;
esac
