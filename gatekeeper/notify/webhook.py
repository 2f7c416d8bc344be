"""Webhooks: a signed POST of JSON over HTTPS.

The signature is HMAC-SHA256 (RFC 2104) over ``TIMESTAMP.BODY`` under ``notify.webhook_key``; the
timestamp, in seconds since 1970, is signed so that an old request can be refused. Any 2xx is taken
as received. A redirect is not followed, and of the answer's body nothing is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import time

import gatekeeper
from gatekeeper.errors import TransportError
from gatekeeper.notify import line
from gatekeeper.notify.address import Target, webhook_target
from gatekeeper.notify.readiness import check_webhook
from gatekeeper.notify.render import Message
from gatekeeper.settings import NotifySettings

DELIVERY = "Gatekeeper-Delivery"
TIMESTAMP = "Gatekeeper-Timestamp"
SIGNATURE = "Gatekeeper-Signature"


def send(message: Message, address: str, settings: NotifySettings) -> None:
    """Hand a message to a webhook.

    Args:
        message: what to send.
        address: the URL.
        settings: ``[notify]``.

    Raises:
        ConfigurationError: if a setting is missing, or the URL breaks a rule.
        TransportError: if the webhook did not answer 2xx in time.
    """
    check_webhook(settings)
    target = webhook_target(address, settings.plain_hosts)
    body = json.dumps(message.payload, sort_keys=True, ensure_ascii=False).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"gatekeeper/{gatekeeper.__version__}",
        "Connection": "close",
        DELIVERY: message.delivery_id,
        TIMESTAMP: timestamp,
        SIGNATURE: sign(body, timestamp, settings.webhook_key),
    }
    status = _post(target, body, headers, settings)
    if 300 <= status < 400:
        raise TransportError(f"the webhook answered {status}; redirects are not followed")
    if not 200 <= status < 300:
        raise TransportError(f"the webhook answered {status}")


def sign(body: bytes, timestamp: str, key: str) -> str:
    """Return the signature of a request, in hexadecimal."""
    return hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _post(target: Target, body: bytes, headers: dict[str, str], settings: NotifySettings) -> int:
    """Return the status of the answer."""
    context = line.tls_context(settings) if target.tls else None
    kind = http.client.HTTPSConnection if target.tls else http.client.HTTPConnection
    connection = line.connect(target.host, target.port, settings)
    try:
        with line.Deadline(connection, settings.attempt_seconds) as deadline:
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname=target.host)
            with contextlib.closing(kind(target.host, target.port)) as call:
                # Already connected: the library opens nothing by itself then.
                call.sock = connection
                call.request("POST", target.path, body, headers)
                with call.getresponse() as answer:
                    # The library takes headers that were cut off for whole ones.
                    if deadline.passed:
                        raise TimeoutError
                    return answer.status
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise TransportError(f"the webhook: {line.reason(error)}") from None
    finally:
        connection.close()
