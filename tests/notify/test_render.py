"""What a message says: one sentence for each event, and never more than its channel may know."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import IdentifierError
from gatekeeper.notify import events
from gatekeeper.notify.events import (
    FACTS,
    CertificateExpires,
    ClockWrong,
    DeliveryDead,
    DriftFound,
    Event,
    Happening,
    HoldEndsSoon,
    HoldExpired,
    IntakePaused,
    JobDead,
    ModelUnavailable,
    RuleNotifies,
    SoftwareChanged,
    StudyHeld,
    StudyNotDecided,
    StudyRejected,
    StudyReleased,
    VerdictCameLate,
    facts_of,
    subject_of,
)
from gatekeeper.notify.render import Message, render, sentence
from storage.notifications import DIGEST
from storage.records import Details, Notification, NotificationState

STUDY = "2.25.329800735698586629295641978511506172918"
CANARY = "DOE^JANE"
AT = 1_800_000_000.0

EXAMPLES: list[tuple[Happening, str]] = [
    (StudyHeld(STUDY), "A study is held."),
    (HoldExpired(STUDY, "released"), "has expired with no decision; it is released."),
    (StudyReleased(STUDY), "A held study is released."),
    (StudyRejected(STUDY), "A held study is rejected."),
    (StudyNotDecided(STUDY, 7, "UNREADABLE"), "A study could not be judged in job 7: UNREADABLE."),
    (
        VerdictCameLate(STUDY, "AI", "SUSPECT"),
        "A study went on to AI before it was judged: SUSPECT.",
    ),
    (
        ModelUnavailable("mr-brain-t1"),
        "Studies are not judged: model mr-brain-t1 is not available.",
    ),
    (DeliveryDead(4, "PACS", "A900 error."), "Delivery 4 to PACS is set aside: A900 error."),
    (JobDead(7, STUDY, f"file of {STUDY} is gone"), "Job 7 is set aside: file of (UID) is gone."),
    (CertificateExpires("tls.certificate", 6), "of tls.certificate expires in 6 days."),
    (CertificateExpires("tls.ca", -1), "The certificate of tls.ca has expired."),
    (
        DriftFound("SIEMENS SKYRA 3T", "score", 7),
        "SIEMENS SKYRA 3T sends other than before: score (gatekeeper drift show 7).",
    ),
    (ClockWrong("GE DISCOVERY", -900), "come later: -900 s after their making."),
    (SoftwareChanged("GE DISCOVERY"), "GE DISCOVERY has other software than before."),
    (RuleNotifies(STUDY, "CT at night"), "A study matches rule CT at night."),
    (IntakePaused("disk", AT), "Intake is paused by the disk since 20"),
    (HoldEndsSoon(STUDY, AT, "rejected"), "is then rejected."),
]


def notification(facts: dict[str, Any], event: str, number: int = 17) -> Notification:
    return Notification(
        id=number,
        channel="desk",
        event=event,
        subject=subject_of(facts),
        delivery_id="9c5b94b1-35ad-49bb-b118-8e8fc24abf80",
        facts=facts,
        state=NotificationState.CLAIMED,
        attempt=1,
        created_at=AT,
        not_before=AT,
    )


def of(happening: Happening) -> Notification:
    return notification(facts_of(happening), happening.event)


def everything(message: Message) -> str:
    return message.subject + message.text + json.dumps(message.payload)


@pytest.mark.parametrize(("happening", "said"), EXAMPLES)
def test_each_event_is_one_sentence_without_the_study(happening: Happening, said: str) -> None:
    """By default the study is a number to look up here."""
    message = render(of(happening), Details.NONE, "GATE")

    assert said in message.text
    assert STUDY not in everything(message)
    assert "gatekeeper notification show 17" in message.text
    assert message.payload["text"] == message.text.splitlines()[0]
    assert message.subject.startswith("[GATE] ")
    assert message.subject.endswith(" (number 17)")


@pytest.mark.parametrize("happening", [one for one, _ in EXAMPLES])
def test_uids_are_told_where_the_channel_is_to_have_them(happening: Happening) -> None:
    """In the sentence and in the facts."""
    message = render(of(happening), Details.UIDS, "GATE")

    about = getattr(happening, "study", None)
    assert about is None or f"({STUDY})" in message.text
    assert about is None or message.payload["facts"]["study"] == STUDY


def test_there_is_an_example_of_every_event() -> None:
    """So that none is told without a sentence of its own; and every field is on the list."""
    assert {one.event for one, _ in EXAMPLES} == set(Event)
    for kind in typing.get_args(events.Happening):
        assert {one.name for one in dataclasses.fields(kind)} <= FACTS.keys(), kind


@given(st.dictionaries(st.text(), st.just(CANARY)), st.sampled_from([*Event, DIGEST, "newer"]))
def test_a_fact_that_is_not_on_the_list_is_in_no_message(
    smuggled: dict[str, str], event: str
) -> None:
    """Whoever wrote it into the outbox."""
    facts = {name: value for name, value in smuggled.items() if name not in FACTS}
    one = notification({**facts, "PatientName": CANARY}, event)

    for details in Details:
        assert CANARY not in everything(render(one, details, "GATE", [one]))


@pytest.mark.parametrize(
    "wrong",
    [
        StudyHeld(STUDY, math.nan),
        StudyNotDecided(STUDY, 7, CANARY),
        DeliveryDead(4, "no\\node", ""),
        JobDead(typing.cast("int", CANARY), STUDY, ""),
    ],
)
def test_a_fact_that_is_not_what_its_name_says_is_refused(wrong: Happening) -> None:
    """Before it is in the outbox."""
    with pytest.raises((IdentifierError, ValueError)):
        facts_of(wrong)


def test_a_study_whose_uid_breaks_the_rules_is_told_of_without_its_name() -> None:
    """What a scanner sends in place of a UID could say anything, and holds up no verdict."""
    assert facts_of(StudyNotDecided(CANARY, 7, "UNREADABLE")) == {"job": 7, "verdict": "UNREADABLE"}


@given(st.text())
def test_text_is_one_printable_line_of_bounded_length(text: str) -> None:
    """It can end no header, hide nothing, and fill no mailbox."""
    facts = facts_of(JobDead(7, STUDY, text))

    reason = facts.get("reason", "")
    assert reason.isprintable()
    assert len(reason) <= events.SENTENCE_LENGTH
    assert "\n" not in sentence(notification(facts, Event.JOB_DEAD), Details.UIDS)


def test_a_digest_counts_all_and_names_the_first() -> None:
    """Each as its own message would have said it."""
    members = [of(JobDead(number, STUDY, "gone")) for number in range(5)]

    message = render(notification({}, DIGEST, 99), Details.NONE, "GATE", members, 2)

    assert message.subject == "[GATE] 5 events (number 99)"
    assert "     5  job-dead" in message.text
    assert "Job 1 is set aside: gone." in message.text
    assert "Job 2" not in message.text
    assert "and 3 more" in message.text
    assert "gatekeeper notification show 99" in message.text
    assert len(message.payload["notifications"]) == 2
    assert STUDY not in everything(message)
