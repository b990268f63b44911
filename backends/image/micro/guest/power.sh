#!/bin/sh
# The power button: nothing here has to be asked first.
echo 'nephele-micro: power button' >/dev/console
sync
mount -o remount,ro / 2>/dev/null
poweroff -f
