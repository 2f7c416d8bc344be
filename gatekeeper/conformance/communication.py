"""Network and media communication details: chapter 6, policies, activities and statuses."""

from __future__ import annotations

from gatekeeper import commitment as push
from gatekeeper.conformance.document import Block, Code, Section, Steps, Table
from gatekeeper.conformance.overview import LISTENER, SENDER
from gatekeeper.conformance.site import Site
from gatekeeper.listen import answers
from gatekeeper.listen.answers import Told
from gatekeeper.listen.backpressure import LOCAL_LIMIT_EXCEEDED
from gatekeeper.listen.file_meta import IMPLEMENTATION_CLASS_UID
from gatekeeper.listen.peers import Refusal
from gatekeeper.listen.provider import MAXIMUM_OUTSTANDING
from gatekeeper.listen.server import (
    IMPLEMENTATION_VERSION_NAME,
    REJECTIONS,
    TEMPORARY_CONGESTION,
)
from gatekeeper.results import uids
from gatekeeper.send import pdu, retrieve
from gatekeeper.send.association import LARGEST_FRAGMENT
from gatekeeper.send.channel import OWN_MAXIMUM_LENGTH
from gatekeeper.send.statuses import NO_STATUS, RULES, UNKNOWN, Disposition

SENT = "Statuses of C-STORE received by the Sender"
STORED = "Statuses of C-STORE returned by the Listener"
REJECTED = "Association rejections by the Listener"

_RESULTS = {1: "1, rejected permanent", 2: "2, rejected transient"}
_SOURCES = {
    1: "1, service user",
    2: "2, service provider (ACSE)",
    3: "3, service provider (presentation)",
}
_REASONS = {
    (1, 3): "3, calling AE title not recognized",
    (1, 7): "7, called AE title not recognized",
    (3, 1): "1, temporary congestion",
    (3, 2): "2, local limit exceeded",
}
_CONDITIONS = {
    Refusal.CALLED_AE: "the called AE title is not ours",
    Refusal.CALLING_AE: "the calling AE title is no enabled node that may call",
    Refusal.ADDRESS: "the address is not one of the node's",
    Refusal.PLAIN: "the node is to call by TLS alone, and called in plain text",
    Refusal.CERTIFICATE: "the certificate is not the node's",
}


def communication(site: Site) -> Section:
    """Return the chapter."""
    return Section(
        "Network and media communication details",
        (
            (
                "DICOM upper layer over TCP/IP, IPv4 and IPv6 (PS3.8), in plain text or by TLS. "
                f"The application context name is {pdu.APPLICATION_CONTEXT} (DICOM)."
            ),
        ),
        (
            _listener(site),
            _sender(site),
            Section(
                "Implementation identifying information",
                (
                    Table(
                        "Implementation class and version",
                        ("Where", "Implementation class UID", "Implementation version name"),
                        (
                            (
                                f"associations, {LISTENER}",
                                Code(IMPLEMENTATION_CLASS_UID),
                                Code(IMPLEMENTATION_VERSION_NAME),
                            ),
                            (
                                f"associations, {SENDER}",
                                Code(IMPLEMENTATION_CLASS_UID),
                                Code(pdu.IMPLEMENTATION_VERSION),
                            ),
                            (
                                "file meta information of received objects",
                                Code(IMPLEMENTATION_CLASS_UID),
                                "none",
                            ),
                            (
                                "file meta information of objects created here",
                                Code(str(uids.IMPLEMENTATION_CLASS_UID)),
                                Code(uids.IMPLEMENTATION_VERSION_NAME),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


def _listener(site: Site) -> Section:
    listen = site.settings.listen
    return Section(
        f"{LISTENER}: associations accepted",
        parts=(
            Section(
                "Association policies",
                (
                    Table(
                        "Association policies of the Listener",
                        ("Policy", "Value"),
                        (
                            ("Maximum PDU length received", f"{listen.maximum_pdu} bytes"),
                            ("Simultaneous associations", str(listen.maximum_associations)),
                            (
                                "TCP connections, in total and of one address",
                                (
                                    f"{listen.maximum_connections}, "
                                    f"{listen.maximum_connections_per_host}"
                                ),
                            ),
                            (
                                "Asynchronous operations window",
                                "not negotiated: one operation invoked and one performed",
                            ),
                            (
                                "Requests tolerated ahead of their answers, but C-STORE",
                                str(MAXIMUM_OUTSTANDING),
                            ),
                            (
                                "SCP/SCU role selection",
                                "accepted for Storage Commitment Push Model",
                            ),
                            ("SOP class extended negotiation", "not supported"),
                            ("User identity negotiation", "not supported, and not answered"),
                            (
                                "Wait for the association request",
                                f"{listen.association_timeout:g} s",
                            ),
                            (
                                "One PDU, and the pause between two of a message",
                                f"{listen.dimse_timeout:g} s",
                            ),
                            ("One message", f"{listen.object_seconds:g} s"),
                            (
                                "Silence before the association is aborted",
                                f"{listen.network_timeout:g} s",
                            ),
                            ("Largest object", f"{listen.maximum_object_mib} MiB"),
                            (
                                "Most data of one association",
                                f"{listen.maximum_association_mib} MiB",
                            ),
                        ),
                    ),
                    (
                        "A node that goes over a limit of size or time is aborted; no other is "
                        "disturbed."
                    ),
                    _rejections(),
                ),
            ),
            Section(
                "Activities",
                (
                    Steps(
                        (
                            (
                                "The remote AE opens an association. Called and calling AE title, "
                                "address and, by TLS, certificate are compared with the node that "
                                "an administrator has entered."
                            ),
                            (
                                "Each presentation context is accepted in the first transfer "
                                "syntax of chapter 4 that it has. Contexts of classes that the "
                                "node may not send are rejected (result 3)."
                            ),
                            (
                                "Each C-STORE is answered once the object is durable, or refused "
                                "with its reason in Error Comment (0000,0902)."
                            ),
                            (
                                "The association is the remote AE's to release. A study is "
                                "complete after its quiet time, not with the association."
                            ),
                        ),
                        ordered=True,
                    ),
                ),
            ),
            Section(
                "Statuses returned",
                (
                    _told(STORED, answers.C_STORE),
                    "C-ECHO is always answered 0000 (success).",
                    _told("Statuses of N-ACTION returned by the Listener", answers.N_ACTION),
                    _told(
                        "Statuses of N-EVENT-REPORT returned by the Listener",
                        answers.N_EVENT_REPORT,
                    ),
                    Table(
                        "Failure reasons in reports of storage commitment",
                        ("Failure reason", "Meaning"),
                        tuple(
                            (Code(f"{reason:04X}"), push.REASONS[reason])
                            for reason in (
                                push.PROCESSING_FAILURE,
                                push.NO_SUCH_INSTANCE,
                                push.CLASS_CONFLICT,
                            )
                        ),
                    ),
                ),
            ),
        ),
    )


def _sender(site: Site) -> Section:
    send = site.settings.send
    return Section(
        f"{SENDER}: associations initiated",
        parts=(
            Section(
                "Association policies",
                (
                    Table(
                        "Association policies of the Sender",
                        ("Policy", "Value"),
                        (
                            ("Maximum PDU length offered", f"{OWN_MAXIMUM_LENGTH} bytes"),
                            (
                                "Largest PDU sent",
                                f"{LARGEST_FRAGMENT} bytes, less where the node takes less",
                            ),
                            (
                                "Simultaneous associations",
                                (
                                    f"one a node for deliveries, to up to {send.destinations} "
                                    "nodes; others for questions and reports"
                                ),
                            ),
                            (
                                "Presentation contexts proposed",
                                f"1 to {pdu.MAXIMUM_CONTEXTS}, of one transfer syntax each",
                            ),
                            ("Asynchronous operations window", "not negotiated"),
                            (
                                "SCP/SCU role selection",
                                (
                                    "proposed for C-GET (as SCP of storage) and for reports of "
                                    "storage commitment (as SCP)"
                                ),
                            ),
                            ("SOP class extended negotiation", "not proposed"),
                            ("User identity negotiation", "not proposed"),
                            ("Wait for the TCP connection", f"{send.connect_timeout:g} s"),
                            (
                                "Wait for the association's answer",
                                f"{send.association_timeout:g} s",
                            ),
                            ("Wait for a response", f"{send.dimse_timeout:g} s"),
                            ("Attempts at a delivery", str(send.maximum_attempts)),
                            (
                                "Attempts where the answer is likely to last",
                                str(min(send.brief_attempts, send.maximum_attempts)),
                            ),
                            (
                                "Delay between attempts",
                                (
                                    f"{send.retry_seconds:g} s, doubling to "
                                    f"{send.retry_maximum_seconds:g} s"
                                ),
                            ),
                        ),
                    ),
                ),
            ),
            Section(
                "Activities",
                (
                    Steps(
                        (
                            "A delivery is claimed; one delivery a node is under way at a time.",
                            (
                                "An association is opened for the classes and transfer syntaxes "
                                "of its objects. A study that needs more than "
                                f"{pdu.MAXIMUM_CONTEXTS} contexts goes by several."
                            ),
                            (
                                "Objects are sent one after another by C-STORE; each answer is "
                                "recorded as it comes."
                            ),
                            (
                                "An association that drops is requested again for the objects "
                                "without an answer. What is not stored in the end is tried again "
                                "as the table of statuses says; what is stored is not sent again."
                            ),
                            (
                                "Where the node confirms, the delivery counts as committed only "
                                "by its storage commitment report or its answer to C-FIND."
                            ),
                        ),
                        ordered=True,
                    ),
                ),
            ),
            Section("Handling of statuses received", _received()),
        ),
    )


def sent_table() -> Table:
    """Return what becomes of an object after each status: the sender's own table."""
    rows = [
        (Code(_range(rule.first, rule.last)), rule.text, rule.disposition.value) for rule in RULES
    ]
    rows += [
        (Code("any other"), UNKNOWN, Disposition.RETRY_BRIEFLY.value),
        (Code("none"), NO_STATUS, Disposition.RETRY.value),
    ]
    return Table(SENT, ("Status", "Meaning", "What becomes of the object"), tuple(rows))


def _received() -> tuple[Block, ...]:
    return (
        sent_table(),
        Steps(
            (
                "stored, stored with warning: it counts as stored; a warning is recorded.",
                "retry: sent again, until the attempts of the delivery are used up.",
                (
                    "retry briefly: sent again, for the fewer attempts of an answer that is "
                    "likely to last."
                ),
                (
                    "dead: set aside at once, with its reason; a person can have it sent again. "
                    "Nothing is deleted."
                ),
            )
        ),
        Table(
            "Statuses of C-GET and C-MOVE received by the Sender",
            ("Status", "Meaning", "What becomes of the prior"),
            (
                (
                    Code("0000"),
                    "success",
                    "received, once every instance is here; else it is tried again",
                ),
                (Code("B000"), "some sub-operations failed", "likewise"),
                (Code("FF00"), "pending", "waited for"),
                *(
                    (
                        Code(f"{status:04X}"),
                        text.partition(" (")[0],
                        "tried again after a growing delay, then given up with its reason",
                    )
                    for status, text in retrieve.WORDS.items()
                ),
                (Code("any other"), "failure", "likewise"),
            ),
        ),
        (
            "C-FIND: pending (FF00, FF01) is a match, 0000 the end of the answer. With any other "
            "status, or over the limit of matches, the whole answer is discarded and nothing is "
            "concluded from it."
        ),
        (
            "N-ACTION: success (0000) is followed by the wait for the report; with any other "
            "status the question is asked again later. N-EVENT-REPORT: a report of ours that is "
            "not answered 0000 is sent again later."
        ),
    )


def _rejections() -> Table:
    rows = [(_CONDITIONS[refusal], *_reason(code)) for refusal, code in REJECTIONS.items()]
    rows += [
        (
            (
                "as many associations as may be are open, or too many jobs wait and the node would "
                "store"
            ),
            *_reason(LOCAL_LIMIT_EXCEEDED),
        ),
        ("the database is in trouble", *_reason(TEMPORARY_CONGESTION)),
    ]
    return Table(REJECTED, ("Condition", "Result", "Source", "Reason"), tuple(rows))


def _reason(code: tuple[int, int, int]) -> tuple[str, str, str]:
    result, source, reason = code
    return _RESULTS[result], _SOURCES[source], _REASONS[source, reason]


def _told(caption: str, rows: tuple[Told, ...]) -> Table:
    return Table(
        caption,
        ("Status", "Meaning", "When", "What the sender is to do"),
        tuple((Code(f"{row.status:04X}"), row.text, row.when, row.sender) for row in rows),
    )


def _range(first: int, last: int) -> str:
    return f"{first:04X}" if first == last else f"{first:04X}-{last:04X}"
