"""Syslog: an audit message as RFC 5424 has it, and how TLS frames it (RFC 5425); pure.

PRI, MSGID and the UTF-8 of the text are those of PS3.15 A.6. A message that is sent again has the
same bytes, so that a repository can tell.
"""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime

APPLICATION = "gatekeeper"
MESSAGE_ID = "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


def line(content: str, happened_at: float, severity: int, facility: int, host: str = "") -> bytes:
    """Return a syslog message.

    Args:
        content: the XML.
        happened_at: seconds since 1970.
        severity: 0 to 7.
        facility: 0 to 23.
        host: name of this machine; empty for its own.
    """
    moment = datetime.fromtimestamp(happened_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    name = _NOT_PRINTABLE.sub("", host or socket.getfqdn())[:255] or "-"
    head = f"<{8 * facility + severity}>1 {moment} {name} {APPLICATION} - {MESSAGE_ID} - "
    return head.encode("ascii") + _BOM + content.encode("utf-8")


def counted(message: bytes) -> bytes:
    """Return a message with its length before it (RFC 5425 4.3)."""
    return b"%d %s" % (len(message), message)
