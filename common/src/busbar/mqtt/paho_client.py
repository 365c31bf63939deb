"""paho in our words: a client for an endpoint, messages both ways."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import Received
from busbar.net.endpoint import Endpoint
from busbar.net.trace import TRACE, readable

# `log_level {logger: mqtt, level: trace}` shows every message
log = logging.getLogger("busbar.mqtt")

VERSIONS: Mapping[str, Mapping[str, Any]] = {
    "5": {"protocol": paho.MQTTv5},  # a clean start is asked for at each connect
    "3.1.1": {"protocol": paho.MQTTv311, "clean_session": True},
}


def client(
    endpoint: Endpoint,
    client_id: str,
    will: Message | None,
    *,
    in_flight: int,
    connect_timeout: float,
) -> paho.Client:
    """Return a client that is not connected and never reconnects.

    Raise ConfigError for what TLS cannot read.
    """
    made = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        transport="unix" if endpoint.unix else "tcp",
        reconnect_on_failure=False,
        **VERSIONS[endpoint.protocol],
    )
    made.connect_timeout = connect_timeout
    made.max_inflight_messages_set(in_flight)
    made.username_pw_set(*endpoint.credentials)
    if endpoint.tls:
        made.tls_set_context(endpoint.ssl_context())
    if will is not None:
        made.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)
    return made


def subscriptions(
    filters: Sequence[str], *, others_only: bool, version5: bool
) -> list[tuple[str, Any]]:
    """Return what to subscribe to, at QoS 1.

    others_only: nothing that is retained, nothing of our own; MQTT 5 only.
    """
    if not (others_only and version5):
        return [(name, 1) for name in filters]
    options = SubscribeOptions(
        qos=1, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND
    )
    return [(name, options) for name in filters]


def publish(client: paho.Client, message: Message, *, version5: bool) -> int:
    """Hand a message to a client; return the number by which it is acknowledged."""
    _trace("->", message.topic, message.payload)
    properties = _properties(message) if version5 else None
    return client.publish(
        message.topic, message.payload, message.qos, message.retain, properties
    ).mid


def received(message: paho.MQTTMessage) -> Received:
    """Return what has come."""
    payload, properties = bytes(message.payload), message.properties
    _trace("<-", message.topic, payload)
    return Received(
        message.topic,
        payload,
        message.retain,
        message.qos,
        getattr(properties, "ResponseTopic", None),
        getattr(properties, "CorrelationData", None),
        getattr(properties, "MessageExpiryInterval", None),
        getattr(properties, "ContentType", None),
    )


def _properties(message: Message) -> Properties | None:
    if message.correlation is None and message.content_type is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no annotation there
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.content_type is not None:
        properties.ContentType = message.content_type
    return properties


def _trace(arrow: str, topic: str, payload: bytes) -> None:
    if log.isEnabledFor(TRACE):
        log.log(TRACE, "%s %s %s", arrow, topic, readable(payload))
