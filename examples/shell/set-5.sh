#!/bin/sh
# Set a property and wait for the outcome, on MQTT 5: reply topic (-e), id and expiry are properties of the message.
#
#     ./set-5.sh bench/psu setpoint/voltage 5         the value is sent as it is: 5, true, text
#
# Prints the outcome. Exit status: 0 done, 1 failed, 27 no outcome in time (it may have been done all the same).
set -eu

[ $# -eq 3 ] || { echo "usage: $0 BRIDGE/DEVICE PROPERTY VALUE" >&2; exit 2; }
broker=${BUSBAR_URL:-mqtt://127.0.0.1}
wait=${BUSBAR_WAIT:-15} # s; longer than a command may wait in the bridge (10 s)
me=shell # where the broker has rights, the user that logs in
id=$me-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')

# mosquitto_rr takes the first message on the reply topic for the answer: the topic has to be nobody else's.
outcome=$(mosquitto_rr -V mqttv5 -L "$broker/busbar/$1/set/$2" -e "busbar/reply/$me/$id" -q 1 -W "$wait" -m "$3" \
    -D publish correlation-data "$id" -D publish message-expiry-interval 10)

echo "$outcome"
case ${outcome#*\"ok\":} in
true*) ;;
*) exit 1 ;;
esac
