"""What to do next where the broker cannot be reached, by what was said."""

from collections.abc import Sequence

# scheme, words, what to do: the first that fits
_HINTS: Sequence[tuple[str, str, str]] = (
    ("", "refused", "is the broker running there, and is it this port?"),
    ("", "not authori", "user, password: --username, --password-file"),
    ("", "bad user", "user, password: --username, --password-file"),
    (
        "",
        "certificate is not valid for",
        "the broker's certificate is for another name: write that one into the URL",
    ),
    (
        "",
        "certificate verify failed",
        "--ca-file names the authority that signed the broker's certificate",
    ),
    ("", "unsupported protocol", "a broker without MQTT 5: --protocol 3.1.1"),
    ("", "name or service", "the host's name is not known here"),
    ("mqtts:", "reset by peer", "a port without TLS? then mqtt://, usually port 1883"),
    ("mqtts:", "wrong version", "a port without TLS? then mqtt://, usually port 1883"),
    (
        "mqtts:",
        "ended: unspecified",
        "does the broker want a certificate of ours? --cert-file and --key-file",
    ),
    (
        "mqtt:",
        "ended: unspecified",
        "a port with TLS? then mqtts://, usually port 8883; or no MQTT 5 there? "
        "--protocol 3.1.1",
    ),
    (
        "mqtt:",
        "ended: protocol",
        "is that an MQTT broker? one without MQTT 5 needs --protocol 3.1.1",
    ),
    ("", "no answer", "a firewall, or TLS on one side only (mqtt:// and mqtts://)"),
)


def hint(problem: str) -> str:
    """Return what to do next, empty where nothing is known."""
    said = problem.lower()
    for scheme, words, advice in _HINTS:
        if scheme in said and words in said:
            return advice
    return ""
