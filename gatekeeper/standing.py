"""How the site stands, as the overview shows it: bounded reads, however much has been kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper import certificates
from gatekeeper.configuration import changes
from gatekeeper.drift import overview as drift
from gatekeeper.errors import ConfigurationError
from gatekeeper.history import StudyPage, find_studies
from gatekeeper.settings import Settings
from storage import configuration_versions as versions
from storage import pauses, queues, watch
from storage.engine import Database, moment_now
from storage.spool import Spool
from storage.study_search import StudyFilter

LATEST = 8
"""Studies that are shown."""
_DAYS = 30.0
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that a person should look at.

    Attributes:
        text: a sentence.
        path: of the page where it is dealt with.
        urgent: whether something stands still or is about to.
    """

    text: str
    path: str
    urgent: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """How the site stands at one moment.

    Attributes:
        now: by the database's clock.
        held: forwards that are held, and when the first hold ends by itself.
        receiving: studies that images still come for, with the stages of `queues` after them.
        free_bytes: of the spool's file system.
        concerns: the urgent ones first.
        latest: the studies received last.
    """

    now: float
    held: int
    first_end_at: float | None
    receiving: int
    stages: Sequence[queues.Standing]
    free_bytes: float
    concerns: Sequence[Concern]
    latest: StudyPage

    @property
    def waiting(self) -> int:
        """Studies that wait for their analysis or are in it."""
        return sum(
            one.queued + one.claimed for one in self.stages if one.stage is queues.Stage.ANALYSIS
        )

    @property
    def stuck(self) -> int:
        """What was given up, at any stage."""
        return sum(one.dead for one in self.stages)


def read(database: Database, spool: Spool, settings: Settings) -> Standing:
    """Return how the site stands now."""
    with database.read() as tx:
        now = moment_now(tx)
        stages = queues.standing(tx)
        holds = watch.holds(tx)
        paused = pauses.paused(tx)
        latest = find_studies(tx, StudyFilter(), LATEST)
        receiving = sum(watch.receiving(tx).counts.values())
        newest = versions.latest(tx)
        drifting = [one for one in drift.streams(tx, settings.drift) if one.state == drift.DRIFTING]
    concerns = [
        *(Concern(f"Intake is paused by the {mark}.", "/watch") for mark in paused),
        *(
            Concern(f"{one.dead} given up at {one.stage}.", f"/queue/{one.stage.value}")
            for one in stages
            if one.dead
        ),
        *(
            Concern(f"{one.stage.value} is paused by {one.paused.by}: {one.paused.why}", "/queue")
            for one in stages
            if one.paused is not None
        ),
        *_holds(holds, now),
        *(
            Concern(f"{one.device}, {one.protocol}: scores have drifted.", "/drift")
            for one in drifting
        ),
        *_expiries(settings),
    ]
    if newest is not None and newest.who == changes.UNKNOWN:
        text = f"Version {newest.number} of the configuration was written past Gatekeeper."
        concerns.append(Concern(text, "/configuration", urgent=False))
    return Standing(
        now,
        sum(holds.counts.values()),
        holds.first_end_at,
        receiving,
        stages,
        spool.free_mib() * 1048576,
        sorted(concerns, key=lambda one: not one.urgent),
        latest,
    )


def _holds(holds: watch.Holds, now: float) -> list[Concern]:
    end = holds.first_end_at
    if end is None or end > now + 4 * _HOUR:
        return []
    minutes = max(0, round((end - now) / 60))
    return [Concern(f"A hold ends by itself in {minutes} minutes.", "/held")]


def _expiries(settings: Settings) -> list[Concern]:
    try:
        found = certificates.in_use(settings.tls)
    except ConfigurationError as error:
        return [Concern(f"A certificate cannot be read: {error.key}.", "/watch")]
    return [
        Concern(f"The certificate of {one.key} expires in {one.days} days.", "/watch", one.days < 7)
        for one in found
        if one.days < _DAYS
    ]
