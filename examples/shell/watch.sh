#!/bin/sh
# Watch a device until Ctrl-C: a line for every value, for what is bad, and for who is online.
#
#     ./watch.sh bench/psu
set -eu

[ $# -eq 1 ] || { echo "usage: $0 BRIDGE/DEVICE" >&2; exit 2; }
broker=${BUSBAR_URL:-mqtt://127.0.0.1}
device=busbar/$1

# A value counts while the bridge and the device are online and nothing says that it is bad or old.
mosquitto_sub -v -q 1 -L "$broker/busbar/${1%/*}/bridge/status" -t "$device/status" -t "$device/state/#" |
    while read -r topic payload; do
        case $topic in
        */status)
            state=${payload#*\"state\":\"}
            echo "${topic#busbar/} ${state%%\"*}"
            ;;
        "$device/state")
            # what the broker kept may be of any age; a bridge that lives says this every minute
            time=${payload#*\"time\":}
            age=$(($(date +%s) - ${time%%[.,]*}))
            [ "$age" -le 155 ] || echo "old {nothing was said for $age s, by the clocks}"
            case $payload in
            *'"bad":{}'*) ;;
            *) echo "bad {${payload#*\"bad\":\{}" ;;
            esac
            ;;
        *) echo "${topic#"$device/state/"} $payload" ;;
        esac
    done
