"""Contexts and round trips: what a node accepts, and whether it gives back what it was sent."""

from __future__ import annotations

import dataclasses
import datetime
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from support.dicom_peers import ScriptedPeer
from support.query_archive import QueryArchive

from gatekeeper.demo.specimen import encoded, specimen
from gatekeeper.results import kinds
from gatekeeper.send.contexts import ClassAnswer, ask, wanted
from gatekeeper.send.roundtrip import Baggage, Step, Trip, travel
from gatekeeper.settings import SendSettings, Settings
from storage.engine import Database
from storage.records import Confirm, Node, Role
from storage.spool import Spool

MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
RLE = "1.2.840.10008.1.2.5"
GOLDEN = Path(__file__).parents[1] / "results" / "golden"

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(quick: SendSettings) -> Settings:
    return dataclasses.replace(Settings(), send=quick)


@pytest.fixture
def visit(database: Database, tmp_path: Path, settings: Settings) -> Callable[..., Trip]:
    """Return a function that makes a round trip to a peer."""

    def to(peer: Any, **fields: Any) -> Trip:
        given: dict[str, Any] = {"roles": (Role.ARCHIVE,), **fields}
        node = Node(peer.ae_title, "127.0.0.1", peer.port, **given)
        baggage = Baggage(node, settings, database, Spool(tmp_path / "spool"), 0.5)
        return travel(baggage)

    return to


def of(trip: Trip) -> dict[str, Step]:
    return {step.name: step for step in trip.steps}


def archive_of_captures() -> QueryArchive:
    return QueryArchive([], classes=(SECONDARY_CAPTURE,))


@sqlite_only
def test_an_archive_gives_the_specimen_back_byte_for_byte(visit: Callable[..., Trip]) -> None:
    """Every step is ok, timed, and the administrator is told what is left there."""
    with archive_of_captures() as archive:
        trip = visit(archive)

    assert [step.ok for step in trip.steps] == [True] * 5, trip.steps
    assert "all" in of(trip)["compare"].text
    assert trip.study_instance_uid in trip.leftover
    assert "GATEKEEPER^TEST" in trip.leftover


@sqlite_only
def test_an_archive_that_changes_what_it_is_sent_is_found_out(visit: Callable[..., Trip]) -> None:
    """It stores, finds and gives, and the comparison fails."""
    with archive_of_captures() as archive:
        archive.edits = {"PatientID": "CHANGED"}
        trip = visit(archive)

    assert not trip.ok
    assert "was changed" in of(trip)["compare"].text


@sqlite_only
def test_the_first_step_that_fails_ends_the_trip(visit: Callable[..., Trip]) -> None:
    """And nothing is left behind that was not stored."""
    with ScriptedPeer(lambda _number, _uid: 0xA700) as refusing:
        refused = visit(refusing)
    with ScriptedPeer(sop_classes=(MR,)) as without:
        no_context = visit(without)

    assert [step.name for step in refused.steps] == ["echo", "store"]
    assert "did not store" in of(refused)["store"].text
    assert "no accepted presentation context" in of(no_context)["store"].text
    assert refused.leftover == ""


@sqlite_only
def test_an_archive_that_answers_no_queries_fails_and_a_workstation_need_not(
    visit: Callable[..., Trip],
) -> None:
    """Who only stores is asked for no more."""
    with ScriptedPeer() as peer:
        archive, station = visit(peer), visit(peer, roles=(Role.WORKSTATION,))
        asked = visit(peer, roles=(), confirm=Confirm.FIND)

    assert of(archive)["find"].ok is False
    assert of(asked)["find"].ok is False
    assert [step.ok for step in station.steps] == [True, True, None, None, None]
    assert station.ok


def test_the_specimen_is_plainly_a_test_and_known_when_it_comes_back() -> None:
    """Each one is another study, under our own UIDs."""
    now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    one = dcmread(io.BytesIO(encoded(specimen("a", now))))
    other = specimen("b", now)

    assert str(one.PatientName) == "GATEKEEPER^TEST"
    assert "NO PATIENT" in one.StudyDescription
    assert one.Manufacturer == one.ManufacturerModelName == "Gatekeeper"
    assert one.SOPInstanceUID.startswith("2.25.")
    assert one.StudyInstanceUID != other.StudyInstanceUID


def test_contexts_are_told_with_what_they_mean(settings: Settings) -> None:
    """What is accepted can be delivered, what is not is named with what it costs."""
    with ScriptedPeer(sop_classes=(MR, kinds.CLASSES["report"])) as peer:
        node = Node(peer.ae_title, "127.0.0.1", peer.port, receives_results=True)
        answers = {one.sop_class_uid: one for one in ask(node, wanted(node, [], "none"), settings)}

    assert answers[MR].ok
    assert answers[kinds.CLASSES["report"]].meaning == "report: can be delivered"
    refused = answers[SECONDARY_CAPTURE]
    assert not refused.ok
    assert refused.meaning == (
        "no context for Secondary Capture Image: montage and heatmap cannot be delivered"
    )


@pytest.mark.parametrize(
    ("accepted", "needed", "ok", "said"),
    [
        ((IMPLICIT,), ((EXPLICIT, IMPLICIT),), True, "can be delivered"),
        ((EXPLICIT,), ((RLE,),), False, "not taken in RLE Lossless"),
        ((EXPLICIT, RLE), ((RLE,), (EXPLICIT, IMPLICIT)), True, "can be delivered"),
        ((), ((EXPLICIT,),), False, "no context for MR Image: studies with MR Image"),
    ],
)
def test_a_class_is_fit_when_one_syntax_of_each_choice_is_taken(
    accepted: tuple[str, ...],
    needed: tuple[tuple[str, ...], ...],
    ok: bool,
    said: str,
) -> None:
    """Explicit VR is turned into Implicit VR, compressed pictures into nothing else."""
    answer = ClassAnswer(MR, (), accepted, (), needed)
    assert (answer.ok, said in answer.meaning) == (ok, True)


def test_what_is_asked_for_is_what_would_be_sent() -> None:
    """Received classes that the node takes, in their syntax; pictures as they are compressed."""
    node = Node("PACS", "h", 1, receives_results=True, objects=("heatmap",), sop_classes=("MR",))
    asked = wanted(node, [(MR, RLE), ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)], "rle")

    assert asked == {
        SECONDARY_CAPTURE: {(RLE,): ("heatmap",)},
        kinds.CLASSES["statement"]: {(EXPLICIT, IMPLICIT): ("statement",)},
        MR: {(RLE,): ()},
    }


@pytest.mark.parametrize("kind", sorted(kinds.CLASSES))
def test_a_kind_has_the_sop_class_that_its_golden_file_has(kind: str) -> None:
    """The table is what the results are."""
    lines = (GOLDEN / f"{kind}.txt").read_text().splitlines()
    [line] = [one for one in lines if one.startswith("SOPClassUID")]
    assert kinds.CLASSES[kind] in line
