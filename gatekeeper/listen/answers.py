"""Every status that the listener answers with, and what the sender is to do: pure tables.

PS3.4 B.2.3 (C-STORE), PS3.4 J.3 (storage commitment), PS3.7 annex C (general statuses). The
conformance statement has these tables; a test looks for a status that is in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.listen import commitment, fetched, headers, receive, scan
from gatekeeper.listen.commitment import SUCCESS


@dataclass(frozen=True, slots=True)
class Told:
    """One status.

    Attributes:
        status: Status (0000,0900).
        text: the standard's name of it.
        when: what happened here.
        sender: what the sender is to do.
    """

    status: int
    text: str
    when: str
    sender: str


C_ECHO: tuple[Told, ...] = (Told(SUCCESS, "success", "always", "nothing"),)
C_STORE: tuple[Told, ...] = (
    Told(
        receive.SUCCESS,
        "success",
        "the instance is kept, its file flushed to disk and its row committed; or it was kept "
        "before with the same content",
        "may forget it",
    ),
    Told(
        receive.OUT_OF_RESOURCES,
        "refused: out of resources",
        "the disk is low or full, or the spool or the database is in trouble",
        "keeps it, and sends it again later",
    ),
    Told(
        headers.DOES_NOT_MATCH,
        "error: data set does not match SOP class",
        "the data set is another object than the command says",
        "keeps it, and looks into it",
    ),
    Told(
        scan.CANNOT_UNDERSTAND,
        "error: cannot understand",
        "the data set does not parse, or has no usable UIDs",
        "keeps it, and looks into it",
    ),
    Told(
        receive.NOT_SUPPORTED,
        "refused: SOP class not supported",
        "the SOP class of the command is not stored here",
        "keeps it, and looks into it",
    ),
    Told(
        fetched.NOT_AUTHORISED,
        "refused: not authorised",
        "the node may bring only the priors that were asked of it, and this is none",
        "keeps it, and looks into it",
    ),
    Told(
        receive.PROCESSING_FAILURE,
        "failure: processing failure",
        "a defect of ours",
        "keeps it, sends it again, and reports it",
    ),
)
N_ACTION: tuple[Told, ...] = (
    Told(SUCCESS, "success", "the request is on record", "waits for the report"),
    Told(
        commitment.PROCESSING_FAILURE,
        "failure: processing failure",
        "a defect of ours",
        "asks again",
    ),
    Told(
        commitment.NO_SUCH_INSTANCE,
        "failure: no such SOP instance",
        "not the well-known instance of the push model",
        "looks into it",
    ),
    Told(
        commitment.INVALID_ARGUMENT,
        "failure: invalid argument value",
        "the action information cannot be read, or the Transaction UID was used for other "
        "instances",
        "looks into it",
    ),
    Told(
        commitment.NO_SUCH_ACTION,
        "failure: no such action type",
        "the Action Type ID is not 1",
        "looks into it",
    ),
    Told(
        commitment.NOT_AUTHORISED,
        "refused: not authorised",
        "the node may not send, so it may not ask",
        "looks into it",
    ),
    Told(
        commitment.RESOURCE_LIMITATION,
        "failure: resource limitation",
        "too many references in one request, or the database is in trouble",
        "asks for fewer, or later",
    ),
)
N_EVENT_REPORT: tuple[Told, ...] = (
    Told(SUCCESS, "success", "the report is on record", "nothing"),
    Told(
        commitment.INVALID_ARGUMENT,
        "failure: invalid argument value",
        "the report cannot be read, or nothing was asked under its Transaction UID",
        "looks into it",
    ),
    Told(
        commitment.PROCESSING_FAILURE,
        "failure: processing failure",
        "the report could not be put on record",
        "reports again",
    ),
)
