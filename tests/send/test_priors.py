"""Priors: asked for, fetched by C-GET or C-MOVE, kept as priors, and brought to an end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import structlog
from listen.wire import associated, image_file, running, settings_for, store
from pynetdicom import _config
from sqlalchemy import Connection, select
from support.query_archive import CT, QueryArchive, study
from support.waiting import until

from gatekeeper import ledger, periodic
from gatekeeper.send.errands import Errands, Office
from gatekeeper.settings import SendSettings, Settings
from storage import instances, jobs, nodes, priors, studies
from storage.engine import Database
from storage.records import Instance, Node, Prior, PriorState, Retrieve, Role
from storage.schema import prior as table
from storage.spool import Spool

PATIENCE = 30
CURRENT = "1.2.826.0.1.3680043.8.498.9"
OLD = "1.2.826.0.1.3680043.8.498.10"
OLDER = "1.2.826.0.1.3680043.8.498.11"

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclasses.dataclass
class Site:
    """A study that was received, and what fetches its priors."""

    settings: Settings
    database: Database
    spool: Spool

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        errands = Errands(Office(self.database, self.spool, self.settings), "test")
        errands.start()
        try:
            yield
        finally:
            errands.stop(PATIENCE)

    def archive(self, archive: QueryArchive, retrieve: Retrieve = Retrieve.GET) -> None:
        node = Node(
            archive.ae_title,
            "127.0.0.1",
            archive.port,
            roles=(Role.ARCHIVE,),
            receives_results=True,
            retrieve=retrieve,
        )
        with self.database.begin() as tx:
            nodes.save(tx, node)

    def request(self, count: int = 1, modality: str = "") -> None:
        with self.database.begin() as tx:
            priors.request(tx, CURRENT, "ARCHIVE", "old scans", count, modality)

    def ended(self) -> list[Prior]:
        """Return the request and its priors, in the order they were made, once all have ended."""

        def over() -> bool:
            with self.database.read() as tx:
                return not priors.pending(tx, CURRENT)

        until(over, PATIENCE, "nothing is asked for or fetched any more")
        with self.database.read() as tx:
            return priors.listing(tx, CURRENT)[::-1]

    def of(self) -> list[str]:
        with self.database.read() as tx:
            return priors.of(tx, CURRENT)

    def kept(self, uid: str) -> list[Instance]:
        with self.database.read() as tx:
            return instances.of_study(tx, uid, include_priors=True)

    def balanced(self) -> bool:
        return ledger.balance(self.database, self.spool, verify=True).balanced


@pytest.fixture
def a_site(tmp_path: Path, database: Database, quick: SendSettings) -> Callable[..., Site]:
    """Return a maker of sites with one complete study, of 2024 and of the patient P1."""

    def make(**limits: Any) -> Site:
        plain = settings_for(tmp_path / "spool")
        chosen = {"retry_seconds": 0.05, "retry_maximum_seconds": 0.1, **limits}
        settings = dataclasses.replace(
            plain, send=quick, priors=dataclasses.replace(plain.priors, **chosen)
        )
        spool = Spool(Path(settings.spool.directory))
        with database.begin() as tx:
            for one in study(CURRENT, "20240101"):
                path = tmp_path / "current.dcm"
                one.save_as(path, enforce_file_format=True)
                kept = spool.store(path.read_bytes())
                instances.record(
                    tx,
                    Instance(
                        one.SOPInstanceUID,
                        one.SOPClassUID,
                        "1.2.840.10008.1.2.1",
                        CURRENT,
                        one.SeriesInstanceUID,
                        "MR",
                        kept.digest,
                        kept.size,
                        "MR1",
                    ),
                    None,
                )
            found = studies.get(tx, CURRENT)
            assert found is not None
            revision = studies.complete(tx, CURRENT, "c" * 64, found.last_received_at)
            assert revision is not None
            jobs.enqueue(tx, CURRENT, "c" * 64, "d" * 64, revision)
        return Site(settings, database, spool)

    return make


@pytest.fixture
def raw_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted sender send files as they are, without decoding them."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


def states(rows: list[Prior]) -> list[PriorState]:
    return [row.state for row in rows]


def test_the_newest_prior_is_found_and_fetched_by_c_get(a_site: Callable[..., Site]) -> None:
    """It is kept whole, byte for byte, makes neither study nor job, and the books balance."""
    site = a_site()
    with QueryArchive(study(OLD, "20230101") + study(OLDER, "20210101")) as archive:
        site.archive(archive)
        site.request()
        with site.running():
            rows = site.ended()

    assert states(rows) == [PriorState.FOUND, PriorState.RECEIVED]
    assert site.of() == [OLD]
    kept = site.kept(OLD)
    assert [one.prior for one in kept] == [True, True]
    assert {one.source_ae for one in kept} == {"ARCHIVE"}
    assert site.kept(OLDER) == []
    with site.database.read() as tx:
        assert studies.get(tx, OLD) is None
        assert instances.of_study(tx, OLD) == []
        assert len(jobs.listing(tx)) == 1
    assert site.balanced()


def test_priors_are_fetched_by_c_move_to_the_listener(
    a_site: Callable[..., Site], tmp_path: Path
) -> None:
    """From an archive that may send nothing else; two of them, the newest first."""
    site = a_site()
    with (
        running(site.settings, site.database) as listening,
        QueryArchive(study(OLDER, "20210101") + study(OLD, "20230101")) as archive,
    ):
        archive.destination = listening.port
        site.archive(archive, Retrieve.MOVE)
        site.request(count=2)
        with site.running():
            assert states(site.ended()) == [PriorState.FOUND] + [PriorState.RECEIVED] * 2

    assert site.of() == [OLD, OLDER]
    assert all(one.prior for uid in (OLD, OLDER) for one in site.kept(uid))
    with site.database.read() as tx:
        assert studies.get(tx, OLD) is None
    assert site.balanced()


@sqlite_only
def test_an_archive_that_may_only_bring_priors_stores_nothing_else(
    a_site: Callable[..., Site], tmp_path: Path, raw_sending: None
) -> None:
    """An instance that nobody asked for is refused, not analysed by mistake."""
    site = a_site()
    with running(site.settings, site.database) as listening, QueryArchive([]) as archive:
        site.archive(archive, Retrieve.MOVE)
        with associated(listening.port, calling="ARCHIVE") as association:
            answer = store(association, image_file(tmp_path / "files", "1.2.3.4.5"))

    assert answer.Status == 0x0124
    assert site.kept("1.2.3") == []


@sqlite_only
def test_a_study_that_a_scanner_sends_as_well_is_a_study_like_any_other(
    a_site: Callable[..., Site], tmp_path: Path, raw_sending: None
) -> None:
    """It was a prior first; once it is sent, it is received, complete and analysed."""
    site = a_site()
    old = study(OLD, "20230101", count=1)
    with QueryArchive(old) as archive:
        site.archive(archive)
        site.request()
        with site.running():
            site.ended()
    [before] = site.kept(OLD)
    assert before.prior
    path = tmp_path / "old.dcm"
    path.write_bytes(site.spool.path(before.digest).read_bytes())
    with (
        running(site.settings, site.database) as listening,
        associated(listening.port) as association,
    ):
        assert store(association, path).Status == 0x0000

    [after] = site.kept(OLD)
    assert (after.prior, after.source_ae, after.digest) == (False, "SCANNER", before.digest)
    with site.database.read() as tx:
        found = studies.get(tx, OLD)
    assert found is not None
    assert (found.source_ae, found.instances) == ("SCANNER", 1)


@sqlite_only
def test_a_study_that_is_here_already_is_not_fetched_again(a_site: Callable[..., Site]) -> None:
    """Two rules name the same prior: it comes once."""
    site = a_site()
    with QueryArchive(study(OLD, "20230101")) as archive:
        site.archive(archive)
        with site.database.begin() as tx:
            priors.request(tx, CURRENT, "ARCHIVE", "one", 1, "")
            priors.request(tx, CURRENT, "ARCHIVE", "other", 3, "MR")
        with site.running():
            rows = site.ended()
        assert sorted(states(rows)) == [PriorState.FOUND] * 2 + [PriorState.RECEIVED] * 2
        assert len(archive.given) == 2

    assert site.of() == [OLD]


@sqlite_only
def test_no_prior_is_an_answer_with_its_reason(a_site: Callable[..., Site]) -> None:
    """Of another modality, of the same day, later, or of another patient: none of them counts."""
    site = a_site()
    others = [
        *study(OLD, "20230101", modality="CT", sop_class=CT),
        *study(OLDER, "20250101"),
        *study(f"{OLDER}.1", "20200101", patient="P2"),
    ]
    with QueryArchive(others) as archive:
        site.archive(archive)
        site.request()
        with site.running():
            [row] = site.ended()

    assert (row.state, row.reason) == (
        PriorState.NONE,
        "none of 1 earlier studies has modality MR",
    )
    assert site.of() == []


@sqlite_only
def test_modalities_that_an_archive_does_not_tell_are_looked_up(
    a_site: Callable[..., Site],
) -> None:
    """ModalitiesInStudy is optional there (PS3.4 C.3.4); the series say it."""
    site = a_site()
    mixed = study(OLD, "20230101", modality="CT", sop_class=CT) + study(OLDER, "20210101")
    with QueryArchive(mixed) as archive:
        archive.tells_modalities = False
        site.archive(archive)
        site.request()
        with site.running():
            site.ended()

    assert site.of() == [OLDER]


@sqlite_only
def test_a_prior_that_does_not_come_whole_is_tried_again_and_given_up(
    a_site: Callable[..., Site],
) -> None:
    """What came is kept; the reason counts what is missing; a retry by hand fetches the rest."""
    site = a_site(maximum_attempts=2)
    with QueryArchive(study(OLD, "20230101", count=3)) as archive:
        archive.withheld = {f"{OLD}.2.2"}
        site.archive(archive)
        site.request()
        with structlog.testing.capture_logs() as events, site.running():
            rows = site.ended()
        assert rows[1].state is PriorState.DEAD
        assert rows[1].attempt == 2
        assert rows[1].reason.startswith("1 of 3 instances did not come")
        assert "prior_dead" in {event["event"] for event in events}
        assert (site.of(), len(site.kept(OLD))) == ([], 2)

        archive.withheld = set()
        with site.database.begin() as tx:
            assert priors.retry(tx, rows[1].id)
        with site.running():
            site.ended()
    assert site.of() == [OLD]
    assert site.balanced()


@sqlite_only
@pytest.mark.parametrize(
    ("status", "said"), [(0xA801, "does not know our AE title"), (0xC123, "it answered C123")]
)
def test_a_failure_of_the_archive_is_told_in_words(
    a_site: Callable[..., Site], status: int, said: str
) -> None:
    """So that the administrator knows at which end to look."""
    site = a_site(maximum_attempts=1)
    with QueryArchive(study(OLD, "20230101")) as archive:
        archive.answer = 0 if status == 0xA801 else status
        site.archive(archive, Retrieve.MOVE if status == 0xA801 else Retrieve.GET)
        site.request()
        with site.running():
            rows = site.ended()

    assert rows[1].state is PriorState.DEAD
    assert said in rows[1].reason


@sqlite_only
def test_a_dead_archive_ends_the_request(a_site: Callable[..., Site]) -> None:
    """Tried as often as the settings say, then dead: nothing waits for it any more."""
    site = a_site(maximum_attempts=2)
    with site.database.begin() as tx:
        nodes.save(tx, Node("ARCHIVE", "127.0.0.1", 1, roles=(Role.ARCHIVE,)))
    site.request()
    with site.running():
        [row] = site.ended()

    assert (row.state, row.attempt) == (PriorState.DEAD, 2)
    assert "no connection" in row.reason
    assert site.balanced()


@sqlite_only
def test_an_archive_that_drops_the_association_is_asked_again(a_site: Callable[..., Site]) -> None:
    """What had come is kept; the prior counts as received once all of it is here."""
    site = a_site()
    with QueryArchive(study(OLD, "20230101", count=3)) as archive:
        archive.drop_after = 1
        site.archive(archive)
        site.request()
        with site.running():
            rows = site.ended()

    assert (rows[1].state, rows[1].attempt) == (PriorState.RECEIVED, 2)
    assert len(site.kept(OLD)) == 3
    assert site.balanced()


@sqlite_only
def test_what_a_killed_sender_was_fetching_is_fetched_by_the_next(
    a_site: Callable[..., Site],
) -> None:
    """Its lease ends, a tick takes it back."""
    site = a_site()
    with QueryArchive(study(OLD, "20230101")) as archive:
        site.archive(archive)
        site.request()
        with site.database.begin() as tx:
            assert priors.claim(tx, "killed", -1.0) is not None
        periodic.tick_rescue(periodic.Context(site.settings, site.database, site.spool))
        with site.running():
            rows = site.ended()

    assert [(row.state, row.attempt) for row in rows] == [
        (PriorState.FOUND, 2),
        (PriorState.RECEIVED, 1),
    ]


@sqlite_only
def test_a_claim_is_held_while_a_large_prior_comes(a_site: Callable[..., Site]) -> None:
    """The lease is short, so that a sender that was killed delays nothing, and it is renewed."""
    site = a_site()
    site.settings = dataclasses.replace(
        site.settings, send=dataclasses.replace(site.settings.send, lease_seconds=2.0)
    )
    context = periodic.Context(site.settings, site.database, site.spool)
    renewed: list[bool] = []

    def slow() -> None:
        with site.database.read() as tx:
            first = _lease(tx)

        def again() -> bool:
            periodic.tick_rescue(context)
            with site.database.read() as tx:
                return _lease(tx) > first + 2.0

        until(again, PATIENCE, "the lease is renewed again and again")
        renewed.append(True)

    with QueryArchive(study(OLD, "20230101")) as archive:
        archive.before_giving = slow
        site.archive(archive)
        site.request()
        with site.running():
            rows = site.ended()

    assert renewed == [True]
    assert [(row.state, row.attempt) for row in rows][1] == (PriorState.RECEIVED, 1)


def _lease(tx: Connection) -> float:
    claimed = select(table.c.lease_until).where(table.c.state == "claimed")
    return tx.execute(claimed).scalar_one()


def test_a_request_that_nobody_takes_is_given_up_by_age(a_site: Callable[..., Site]) -> None:
    """A disabled archive is a pause, and no study waits for its priors for ever."""
    site = a_site(patience_seconds=1.0)
    with QueryArchive([]) as archive:
        site.archive(archive)
    site.request()
    context = periodic.Context(site.settings, site.database, site.spool)
    periodic.tick_rescue(context)
    with site.database.read() as tx:
        assert priors.pending(tx, CURRENT)

    def given_up() -> bool:
        periodic.tick_rescue(context)
        with site.database.read() as tx:
            return not priors.pending(tx, CURRENT)

    until(given_up, PATIENCE, "the request is given up")
    [row] = site.ended()
    assert row.state is PriorState.DEAD
    assert row.reason.startswith("given up after 1 s")


def test_a_request_is_made_once_and_made_again_when_it_is_dead(
    a_site: Callable[..., Site],
) -> None:
    """A completion commit may run twice."""
    site = a_site()
    with site.database.begin() as tx:
        first = priors.request(tx, CURRENT, "ARCHIVE", "old scans", 1, "")
        assert priors.request(tx, CURRENT, "ARCHIVE", "old scans", 1, "") == first
        claimed = priors.claim(tx, "test", 60)
        assert claimed is not None
        assert priors.request(tx, CURRENT, "ARCHIVE", "old scans", 1, "") == first
        assert priors.fail(tx, claimed, "no", None)
        assert not priors.pending(tx, CURRENT)
        assert priors.request(tx, CURRENT, "ARCHIVE", "old scans", 1, "") == first
        assert priors.pending(tx, CURRENT)
        assert not priors.answered(tx, claimed, [OLD])
