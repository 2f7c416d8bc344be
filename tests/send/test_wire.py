"""The bytes of PDUs and command sets, against pynetdicom's own codec, and against nonsense."""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)

from gatekeeper.send import command, pdu
from gatekeeper.send.pdu import ProtocolError

MR = "1.2.840.10008.5.1.4.1.1.4"
SC = "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PROPOSED = {1: (MR, EXPLICIT), 3: (MR, IMPLICIT), 5: (SC, EXPLICIT)}


def accept_pdu(results: dict[int, int], *, transfer_syntax: str | None = None) -> bytes:
    """Return an A-ASSOCIATE-AC made by pynetdicom, with these results by context identifier."""
    request: Any = A_ASSOCIATE_RQ()
    request.decode(pdu.associate_request("PACS", "GATEKEEPER", PROPOSED, 16384))
    primitive: Any = request.to_primitive()
    contexts: list[Any] = list(primitive.presentation_context_definition_list)
    for context in contexts:
        context.result = results[context.context_id]
        if transfer_syntax is not None:
            context.transfer_syntax = [transfer_syntax]
    primitive.presentation_context_definition_list = []
    primitive.presentation_context_definition_results_list = contexts
    length = MaximumLengthNotification()
    length.maximum_length_received = 28672
    uid = ImplementationClassUIDNotification()
    uid.implementation_class_uid = "1.2.3.4"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "PEER_1"
    primitive.user_information = [length, uid, version]
    primitive.result = 0
    answer: Any = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    return answer.encode()


def test_an_association_request_reads_back_in_pynetdicom() -> None:
    """Titles, contexts, maximum length and implementation come out as they went in."""
    request: Any = A_ASSOCIATE_RQ()

    request.decode(pdu.associate_request("PACS", "GATEKEEPER", PROPOSED, 16384))

    primitive = request.to_primitive()
    assert (primitive.called_ae_title, primitive.calling_ae_title) == ("PACS", "GATEKEEPER")
    assert primitive.application_context_name == pdu.APPLICATION_CONTEXT
    found = {
        cx.context_id: (str(cx.abstract_syntax), str(cx.transfer_syntax[0]))
        for cx in primitive.presentation_context_definition_list
    }
    assert found == PROPOSED
    assert request.user_information.maximum_length == 16384
    assert request.user_information.implementation_class_uid == pdu.IMPLEMENTATION_CLASS_UID
    assert request.user_information.implementation_version_name == pdu.IMPLEMENTATION_VERSION


def test_an_acceptance_tells_contexts_length_and_implementation() -> None:
    """Only contexts with result 0 are accepted."""
    body = accept_pdu({1: 0, 3: 4, 5: 3})[6:]

    found = pdu.associate_accept(body, PROPOSED)

    assert found.contexts == {(MR, EXPLICIT): 1}
    assert found.maximum_length == 28672
    assert found.implementation == "PEER_1"


def test_a_context_accepted_in_a_syntax_never_proposed_is_not_used() -> None:
    """A peer that picks its own transfer syntax is not sent bytes of another."""
    body = accept_pdu({1: 0, 3: 0, 5: 0}, transfer_syntax="1.2.840.10008.1.2.2")[6:]

    assert pdu.associate_accept(body, PROPOSED).contexts == {}


def test_a_rejection_is_told_in_words() -> None:
    """Result, source and reason of A-ASSOCIATE-RJ, known or not."""
    rejected: Any = A_ASSOCIATE_RJ()
    rejected.result, rejected.source, rejected.reason_diagnostic = 1, 1, 7

    assert pdu.rejection(rejected.encode()[6:]) == (
        "association rejected permanently: the called AE title is not its own"
    )
    assert "source 9, reason 9" in pdu.rejection(bytes((0, 2, 9, 9)))
    assert pdu.rejection(b"") == "association rejected"


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_a_store_request_reads_back_in_pydicom(uid: str) -> None:
    """The command set of C-STORE, with UIDs of odd and even length."""
    data = command.store_request(7, MR, uid)

    found = decode(BytesIO(data), True, True)

    assert found.CommandGroupLength == len(data) - 12
    assert (found.AffectedSOPClassUID, found.AffectedSOPInstanceUID) == (MR, uid)
    assert (found.CommandField, found.MessageID, found.Priority) == (1, 7, 0)
    assert found.CommandDataSetType != 0x0101


def test_a_response_is_read() -> None:
    """Command, message and status of a response that pydicom encoded."""
    response = Dataset()
    response.CommandField = 0x8001
    response.MessageIDBeingRespondedTo = 9
    response.CommandDataSetType = 0x0101
    response.Status = 0xB000
    response.ErrorComment = "never read"
    data = encode(response, True, True)
    assert data is not None

    assert command.read_response(data) == command.Response(0x8001, 9, 0xB000)
    response.CommandDataSetType = 1
    with pytest.raises(ProtocolError, match="data set"):
        command.read_response(encode(response, True, True) or b"")
    del response.Status
    response.CommandDataSetType = 0x0101
    assert command.read_response(encode(response, True, True) or b"").status is None


@given(st.binary(max_size=400))
def test_nonsense_from_a_peer_raises_only_a_protocol_error(data: bytes) -> None:
    """No bytes make the readers raise anything else."""
    with contextlib.suppress(ProtocolError):
        command.read_response(data)
    with contextlib.suppress(ProtocolError):
        list(pdu.values(data))
    with contextlib.suppress(ProtocolError):
        pdu.associate_accept(bytes(68) + data, PROPOSED)
    assert pdu.rejection(data)


@given(st.data())
def test_a_damaged_acceptance_raises_only_a_protocol_error(data: st.DataObject) -> None:
    """Any byte changed, or the end cut off."""
    body = bytearray(accept_pdu({1: 0, 3: 0, 5: 0})[6:])
    body[data.draw(st.integers(68, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))

    with contextlib.suppress(ProtocolError):
        pdu.associate_accept(bytes(body[:cut]), PROPOSED)


def read_by_pynetdicom(data: bytes) -> Dataset:
    """Return a command set as pynetdicom decodes it."""
    return decode(BytesIO(data), True, True)


def test_a_store_request_is_read_as_pynetdicom_writes_it() -> None:
    """Padding dropped, optional elements passed over, the data set announced."""
    written = Dataset()
    written.AffectedSOPClassUID = MR
    written.CommandField = 0x0001
    written.MessageID = 65535
    written.Priority = 2
    written.CommandDataSetType = 0x0001
    written.AffectedSOPInstanceUID = "1.2.3.45"
    written.MoveOriginatorApplicationEntityTitle = "MOVER"
    written.MoveOriginatorMessageID = 7
    encoded = encode(written, True, True)
    assert encoded is not None

    assert command.read_request(encoded) == command.Request(
        0x0001, 65535, MR, "1.2.3.45", True, "MOVER"
    )


@pytest.mark.filterwarnings("ignore")
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.text(max_size=80), st.text(max_size=80))
def test_a_store_response_reads_back_in_pynetdicom(
    number: int, status: int, comment: str, instance: str
) -> None:
    """Whatever the request held; a comment is cut to what LO allows, a long UID left out."""
    request = command.Request(0x0001, number, MR, instance.encode().decode("latin-1"), True)
    answer = command.store_response(request, status, comment)

    read = read_by_pynetdicom(answer)
    assert (read.CommandField, read.MessageIDBeingRespondedTo) == (0x8001, number)
    assert (read.Status, read.CommandDataSetType) == (status, 0x0101)
    assert read.AffectedSOPClassUID == MR
    assert ("AffectedSOPInstanceUID" in read) == (0 < len(request.sop_instance_uid) <= 64)
    assert command.read_response(answer).status == status
    assert len(read.get("ErrorComment", "")) <= 64
    assert read.CommandGroupLength == len(answer) - 12


@given(st.binary(min_size=1, max_size=500), st.integers(0, 600))
def test_a_command_is_cut_to_what_the_peer_takes(data: bytes, longest: int) -> None:
    """Every PDU within the length, the last value marked, and nothing lost."""
    stream = pdu.command_values(5, data, longest)
    found, control = b"", 0
    while stream:
        _kind, length = pdu.HEADER.unpack_from(stream)
        assert not longest or length <= max(longest, 7)
        assert not control & pdu.LAST
        [(context, control, part)] = pdu.values(stream[6 : 6 + length])
        assert (context, control & pdu.COMMAND) == (5, pdu.COMMAND)
        found += part
        stream = stream[6 + length :]
    assert found == data
    assert control & pdu.LAST


@given(st.binary(max_size=200))
def test_a_foreign_request_is_read_or_refused(data: bytes) -> None:
    """Noise is a protocol error or a request, never another exception."""
    with contextlib.suppress(ProtocolError):
        command.read_request(data)
