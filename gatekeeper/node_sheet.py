"""The onboarding sheet: one printed page with which an engineer sets up a scanner or an archive.

What has to be typed in at the other end, what is accepted here, how long we wait, and what to try,
in order, with boxes to tick. Self-contained HTML for A4, black on white; it loads nothing, and
everything that an administrator typed is escaped.
"""

from __future__ import annotations

import datetime
import socket
from dataclasses import dataclass
from html import escape

from pydicom.uid import UID

import gatekeeper
from gatekeeper import peering, sop_classes
from gatekeeper.settings import Settings
from storage.records import Confirm, Node, Retrieve

_NAMED = 14
"""SOP classes that are named one by one; more are counted."""

_FOOTER = (
    "AE titles, the address and, by TLS, the certificate must be those of this sheet: else the "
    "association is rejected as from a calling AE title that is not recognized. Success (0000) "
    "means that the image is on our disk, flushed, and on record."
)

_STYLE = """
@page { size: A4; margin: 10mm 13mm; }
* { box-sizing: border-box; }
body { margin: 0; color: #111; background: #fff; font: 9pt/1.28 system-ui, "Segoe UI", Roboto,
  "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 184mm; margin: 0 auto; padding: 0; overflow-wrap: anywhere; }
header { display: flex; justify-content: space-between; align-items: flex-end; gap: 8mm;
  border-bottom: 2.2pt solid #111; padding-bottom: 2.5mm; margin-bottom: 3.5mm; }
h1 { font-size: 17pt; line-height: 1.15; margin: 0; }
header p { margin: 0; text-align: right; font-size: 9pt; color: #444; }
h2 { font-size: 11pt; margin: 0 0 1.2mm; }
section { break-inside: avoid; margin-bottom: 2.6mm; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 4mm; }
@media (max-width: 600px) { .pair { grid-template-columns: 1fr; } main { padding: 0 3mm; } }
.box { border: 1pt solid #777; border-radius: 2mm; padding: 1.8mm 3mm; }
dl { margin: 0; display: grid; grid-template-columns: auto 1fr; gap: 0.7mm 4mm; }
dt { color: #444; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.typed { font: 700 10.5pt/1.25 ui-monospace, "DejaVu Sans Mono", monospace; }
.plain { font-weight: 400; }
p { margin: 0 0 1.6mm; }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-weight: 600; font-size: 9pt; color: #444; }
th, td { border-bottom: 0.6pt solid #aaa; padding: 0.8mm 2mm 0.8mm 0; vertical-align: top; }
td:nth-child(2) { width: 62mm; }
td:first-child, th:first-child { width: 7mm; }
td.done { width: 18mm; border-bottom: 0.6pt solid #aaa; }
.tick { display: inline-block; width: 3.6mm; height: 3.6mm; border: 1pt solid #111; }
.signed { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 6mm; margin-top: 9mm; }
.signed div { border-top: 0.8pt solid #111; padding-top: 0.8mm; font-size: 8.5pt; color: #444; }
footer { margin-top: 2mm; font-size: 7.8pt; color: #555; }
@media screen { main { padding: 8mm 6mm; } }
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try, and what is to be seen."""

    todo: str
    expected: str


def sheet(node: Node, settings: Settings, host: str, today: datetime.date) -> str:
    """Return the page for the engineer of `node`.

    Args:
        node: as we know it.
        settings: ours, as the listener runs with.
        host: name or address at which the engineer reaches us.
        today: printed on the page.
    """
    title = f"Connecting {node.ae_title} to {settings.listen.ae_title}"
    parts = [
        (
            f"<header><h1>{escape(title)}</h1>"
            f"<p>{escape(node.description or 'DICOM onboarding sheet')}<br>"
            f"{today.isoformat()} &middot; Gatekeeper {escape(gatekeeper.__version__)}</p></header>"
        ),
        f"<p>{escape(node.ae_title)} {escape('; '.join(peering.does(node)))}.</p>",
        '<div class="pair">',
        _box("Enter at the scanner or archive", _ours(node, settings, host), typed=True),
        _box("As we know you", _theirs(node)),
        "</div>",
        _box("What we accept from you", _accepted(node, settings)),
        _box("Times and limits", _limits(node, settings)),
        _checks(checks(node, settings)),
        '<div class="signed"><div>engineer</div><div>PACS administrator</div><div>date</div></div>',
        f"<footer>{_FOOTER}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def own_host(bound: str) -> str:
    """Return the address that the listener binds, or for all of them this machine's name."""
    return socket.getfqdn() if bound in ("", "0.0.0.0", "::") else bound  # noqa: S104


def checks(node: Node, settings: Settings) -> list[Check]:
    """Return what to try, in order, as this node needs it."""
    own, title = settings.listen.ae_title, node.ae_title
    found = [
        Check(
            f"C-ECHO from {title} to {own}",
            "Success (0000) within a second. A timeout: port or firewall. A rejection: AE titles, "
            "address or certificate",
        )
    ]
    if node.port:
        found.append(
            Check(
                f"C-ECHO from {own} to {title}: gatekeeper node echo {title}",
                "an answer with the node's name",
            )
        )
    if node.may_send:
        found += [
            Check(
                "Send one phantom or test study",
                "every image answered 0000; the study is listed by gatekeeper study list, with as "
                "many instances as the console counts",
            ),
            Check(
                "Pull the network cable during a second study, plug it in again",
                "the console reports an error and sends again; the study is then complete once",
            ),
            Check(
                "Ask for storage commitment of the test study",
                f"a report for all images, to {title} on "
                + (f"port {node.port}" if node.port else "the same association"),
            ),
        ]
    if node.port and (node.receives_results or node.receives_studies):
        found += [
            Check(
                f"gatekeeper node contexts {title}",
                "every line can be delivered; a missing class or syntax is to be allowed there",
            ),
            Check(
                f"gatekeeper node roundtrip {title}",
                "stored, found, fetched and compared: each step says ok; delete the test study of "
                "GATEKEEPER^TEST afterwards",
            ),
        ]
    found.append(
        Check("Remove the test studies at both ends", "nothing of the test is left in work lists")
    )
    return found


def _ours(node: Node, settings: Settings, host: str) -> list[tuple[str, str]]:
    listen = settings.listen
    rows = [("AE title (called)", listen.ae_title), ("Host", host)]
    if listen.plain and not node.needs_tls:
        rows.append(("Port", str(listen.port)))
    if listen.tls_port and node.needs_tls:
        rows.append(("Port, TLS", str(listen.tls_port)))
    return rows


def _theirs(node: Node) -> list[tuple[str, str]]:
    tls = "no: plain text"
    if node.certificate:
        tls = f"always, with the certificate {node.certificate[:16]}…"
    elif node.needs_tls:
        tls = f"always, with a certificate of the agreed CA that names {node.host}"
    rows = [
        ("AE title (calling)", node.ae_title),
        ("Calls from", ", ".join(node.networks) or node.host),
        ("TLS", tls),
    ]
    if node.port:
        rows.insert(2, ("We call", f"{node.host}, port {node.port}"))
    return rows


def _accepted(node: Node, settings: Settings) -> list[tuple[str, str]]:
    from gatekeeper.listen.contexts import storage_classes, transfer_syntaxes

    here = storage_classes(settings.listen.private_sop_classes)
    allowed = sop_classes.expand(node.sop_classes)
    classes = [uid for uid in here if allowed is None or uid in allowed]
    names = sorted({sop_classes.name_of(uid) for uid in classes})
    if not (node.may_send or node.brings_priors):
        text = "none: you only receive"
    elif allowed is None:
        text = (
            f"all {len(names)} storage classes of the standard, retired ones among them"
            " (MR, CT, enhanced, SR, Siemens CSA Non-Image …)"
        )
    elif len(names) > _NAMED:
        text = f"{', '.join(node.sop_classes)}: {len(names)} classes; others are rejected"
    else:
        text = f"{', '.join(names)}; others are rejected"
    syntaxes = transfer_syntaxes(accept_deflated=settings.listen.accept_deflated)
    preferred = "; ".join(UID(uid).name.partition(",")[0] for uid in syntaxes[:2])
    return [
        ("SOP classes", text),
        (
            "Transfer syntaxes",
            (
                f"{preferred}; and {len(syntaxes) - 2} more, every compression of the standard. "
                "Send as stored: nothing is recompressed"
            ),
        ),
        ("Verification", "C-ECHO, always"),
        (
            "Storage commitment",
            "yes, push model; the report comes on the same association or on a new one to your "
            "port" + ("" if node.port else ", which we do not know"),
        ),
    ]


def _limits(node: Node, settings: Settings) -> list[tuple[str, str]]:
    listen = settings.listen
    quiet = listen.quiet_seconds if node.quiet_seconds is None else node.quiet_seconds
    rows = [
        (
            "Study complete",
            (
                f"{quiet:g} s after the last image, once your association is closed; what comes "
                "later makes a revision"
            ),
        ),
        (
            "Your time-outs",
            (
                "association and DIMSE 60 s or more; we abort after "
                f"{listen.network_timeout:g} s of silence"
            ),
        ),
        (
            "Associations",
            (
                f"{listen.maximum_associations} at once for all nodes; one more is rejected for "
                "now: try again"
            ),
        ),
        (
            "Largest PDU, object",
            f"{listen.maximum_pdu} bytes; {listen.maximum_object_mib} MiB",
        ),
        (
            "Refused for now",
            "A700, when our disk is short or in trouble: keep the study and send it again",
        ),
    ]
    if node.confirm is not Confirm.NONE:
        how = "storage commitment" if node.confirm is Confirm.COMMITMENT else "C-FIND"
        rows.append(("We ask you", f"by {how}, whether you keep what we sent"))
    if node.brings_priors or node.retrieve is Retrieve.MOVE:
        own = settings.listen.ae_title
        rows.append(("C-MOVE", f"to our AE title {own}, which your archive has to know"))
    return rows


def _box(title: str, rows: list[tuple[str, str]], *, typed: bool = False) -> str:
    kind = "typed" if typed else "plain"
    lines = "".join(
        f'<dt>{escape(name)}</dt><dd class="{kind}">{escape(text)}</dd>' for name, text in rows
    )
    return f'<section class="box"><h2>{escape(title)}</h2><dl>{lines}</dl></section>'


def _checks(rows: list[Check]) -> str:
    lines = "".join(
        f'<tr><td><span class="tick"></span></td><td>{escape(row.todo)}</td>'
        f'<td>{escape(row.expected)}</td><td class="done"></td></tr>'
        for row in rows
    )
    return (
        "<section><h2>Try, in this order</h2><table>"
        "<tr><th></th><th>do</th><th>expect</th><th>seen</th></tr>"
        f"{lines}</table></section>"
    )
