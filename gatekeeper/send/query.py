"""C-FIND as SCU: which instances of a series a node says it has.

Study Root, IMAGE level, with Study and Series Instance UID as unique keys (PS3.4 C.4.1, C.6.2).
The answer is whole or an error: over the limit of matches the query is cancelled and nothing is
concluded from what had come.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from gatekeeper import elements
from gatekeeper.elements import NotReadable
from gatekeeper.errors import TransportError
from gatekeeper.send import command, dialogue
from gatekeeper.send.association import Association
from gatekeeper.settings import SendSettings, Settings
from storage.records import Node

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND."""

_SUCCESS = 0x0000
_PENDING = (0xFF00, 0xFF01)
_LARGEST_IDENTIFIER = 256 * 1024
"""Bytes; an identifier of an instance has a few UIDs."""
_SOP_CLASS, _SOP_INSTANCE, _LEVEL = 0x00080016, 0x00080018, 0x00080052
_STUDY, _SERIES = 0x0020000D, 0x0020000E


class QueryFailed(TransportError):
    """A node answered a query with a failure, or with more than is taken."""


def instances_of(node: Node, series: Iterable[tuple[str, str]], settings: Settings) -> set[str]:
    """Return the SOP Instance UIDs that `node` has in these series, on one association.

    Args:
        node: who is asked.
        series: Study and Series Instance UIDs.
        settings: ``send.find_matches`` and ``send.find_seconds`` bound each query.

    Raises:
        TransportError: if it could not be reached, takes no queries, or is lost.
        QueryFailed: if it answered with a failure or with too many matches.
    """
    found: set[str] = set()
    with dialogue.call(node, STUDY_ROOT_FIND, settings) as association:
        for study_uid, series_uid in series:
            found |= _one_series(association, study_uid, series_uid, settings.send)
    return found


def _one_series(
    association: Association, study_uid: str, series_uid: str, settings: SendSettings
) -> set[str]:
    context = dialogue.chosen(association, STUDY_ROOT_FIND)
    message_id = association.next_message_id()
    query = elements.write(
        [
            elements.uid(_SOP_CLASS, ""),
            elements.uid(_SOP_INSTANCE, ""),
            elements.code(_LEVEL, "IMAGE"),
            elements.uid(_STUDY, study_uid),
            elements.uid(_SERIES, series_uid),
        ],
        context[1],
    )
    association.send(context, command.find_request(message_id, STUDY_ROOT_FIND), query)
    deadline = time.monotonic() + settings.find_seconds
    found: set[str] = set()
    matches = 0
    while True:
        answer = dialogue.response(
            association,
            min(deadline, time.monotonic() + settings.dimse_timeout),
            command.FIND_RSP,
            message_id,
            _LARGEST_IDENTIFIER,
        )
        status = answer.command.status
        if status == _SUCCESS:
            return found
        if status not in _PENDING:
            shown = "without a status" if status is None else f"with status {status:04X}"
            raise QueryFailed(f"the peer answered the query {shown}")
        matches += 1
        if matches > settings.find_matches:
            association.send(context, command.cancel_request(message_id))
            raise QueryFailed(f"over {settings.find_matches} matches in one series")
        found.add(_instance(answer.data, context[1], series_uid))


def _instance(data: bytes, transfer_syntax_uid: str, series_uid: str) -> str:
    """Return the instance that a match is about; a match of another series is an error."""
    try:
        match = elements.read(data, transfer_syntax_uid, _LARGEST_IDENTIFIER)
        uid = elements.text_of(match, _SOP_INSTANCE)
        series = elements.text_of(match, _SERIES)
    except NotReadable as error:
        raise QueryFailed(f"a match that cannot be read: {error}") from None
    if not uid or series not in ("", series_uid):
        raise QueryFailed("a match that is not what was asked for")
    return uid
