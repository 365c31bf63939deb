#!/bin/sh
# Set a property and wait for the outcome, on plain MQTT 3.1.1: id and reply topic go into the payload.
#
#     ./set-311.sh bench/psu setpoint/voltage 5       the value is JSON: 5, true, "text"
#
# Prints the outcome. Exit status: 0 done, 1 failed, 27 no outcome in time (it may have been done all the same).
set -eu

[ $# -eq 3 ] || { echo "usage: $0 BRIDGE/DEVICE PROPERTY VALUE" >&2; exit 2; }
broker=${BUSBAR_URL:-mqtt://127.0.0.1}
wait=${BUSBAR_WAIT:-15} # s; longer than a command may wait in the bridge (10 s)
me=shell # where the broker has rights, the user that logs in
id=$me-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
reply=busbar/reply/$me/$id

outcomes() {
    mosquitto_sub -V mqttv311 -L "$broker/$reply" -i "$id" -q 1 "$@"
}

# The broker keeps the outcome for us from here on (-c), so it cannot come before we listen; without -c it forgets us.
outcomes -c -E
trap 'outcomes -E || true' EXIT
trap 'exit 130' INT TERM

message="{\"_value\": $3, \"_id\": \"$id\", \"_reply\": \"$reply\"}"
mosquitto_pub -V mqttv311 -L "$broker/busbar/$1/set/$2" -q 1 -m "$message"
outcome=$(outcomes -c -C 1 -W "$wait")

echo "$outcome"
case ${outcome#*\"ok\":} in
true*) ;;
*) exit 1 ;;
esac
