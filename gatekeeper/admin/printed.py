"""Printed: the onboarding sheet of a node as a page whose one style is named by its hash."""

from __future__ import annotations

import base64
import datetime
import hashlib

from fastapi.responses import HTMLResponse

from gatekeeper import node_sheet
from gatekeeper.admin.showing import shown
from gatekeeper.settings import Settings
from storage.records import Node


def sheet(node: Node, settings: Settings, host: str = "") -> HTMLResponse:
    """Return the sheet of a node.

    Args:
        node: whose engineer it is for.
        settings: of the site.
        host: address of ours as that engineer types it; empty for the one we know of.
    """
    today = datetime.datetime.now(datetime.UTC).astimezone().date()
    host = host.strip() or node_sheet.own_host(settings.listen.host)
    text = node_sheet.sheet(node, settings, shown(host, 255), today)
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})
