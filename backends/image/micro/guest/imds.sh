#!/bin/sh
# imds PATH: what the metadata service says under /latest/PATH. A token is fetched first (through nc: this wget has no
# PUT) and used while it is good; fails as wget does when there is no such thing.
service=169.254.169.254
kept=/run/nephele/token
fetch_token() {
    printf 'PUT /latest/api/token HTTP/1.1\r\nHost: %s\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$service" |
        nc -w 5 "$service" 80 | tr -d '\r' | awk 'body { print; exit } /^$/ { body = 1 }' >"$kept.$$"
    mv "$kept.$$" "$kept"
}
ask() {
    token=$(cat "$kept" 2>/dev/null)
    # Not its own -T: this build of wget crashes on it.
    timeout 5 wget -q -O - ${token:+--header "X-aws-ec2-metadata-token: $token"} "http://$service/latest/$1"
}
[ -s "$kept" ] || fetch_token
ask "$1" 2>/run/nephele/imds.$$
status=$?
if [ $status -ne 0 ] && grep -q ' 401 ' /run/nephele/imds.$$; then
    fetch_token
    ask "$1" 2>/dev/null
    status=$?
fi
rm -f /run/nephele/imds.$$
exit $status
