"""The queue's pages: what is stuck and why, and pausing, going on and restarting it."""

from __future__ import annotations

from support.pages import Pages, text_of

from storage import audit, instances, jobs, queues
from storage.queues import Stage
from storage.records import Instance
from storage.spool import Digest

HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def stuck(pages: Pages, number: int) -> int:
    """Make a job that was given up."""
    digest = Digest.of(str(number).encode())
    study = f"1.2.840.{number}"
    instance = Instance(f"1.9.{number}", "1.3", "1.4", study, "1.6", "MR", digest, 9, "SCANNER")
    with pages.database.begin() as tx:
        instances.record(tx, instance, None)
        jobs.enqueue(tx, study, digest, Digest.of(b"models"), 1)
        job = jobs.claim(tx, "worker", 60)
        assert job is not None
        jobs.fail(tx, job.id, job.attempt, HOSTILE, None)
    return job.id


def test_what_is_stuck_is_shown_with_its_reason_and_restarted(pages: Pages) -> None:
    """A reason from elsewhere is text; one click, and it waits again, under a name."""

    numbers = [stuck(pages, number) for number in range(12)]
    page = pages.get("/queue", "viewer")
    assert "<img src=x" not in page.text
    assert "onerror=alert(1)" in text_of(page.text)
    assert "Restart" not in page.text
    whole = pages.get("/queue/analysis?state=dead")
    assert all(f"1.2.840.{number}" in whole.text for number in range(12))

    done = pages.post("/queue/analysis/restart", {"number": numbers[0]}, "admin")
    assert done.headers["location"] == "/queue/analysis"
    again = pages.post("/queue/analysis/restart", {"number": numbers[0]}, "admin")
    assert "not among" in text_of(pages.get(again.headers["location"], "admin").text)
    pages.post("/queue/analysis/restart", name="admin")
    with pages.database.read() as tx:
        assert queues.dead(tx, Stage.ANALYSIS, 10) == []
        assert {line.actor for line in audit.listing(tx) if line.action == "restart"} == {"admin"}


def test_a_stage_is_paused_with_a_reason_that_everybody_sees(pages: Pages) -> None:
    """Without a reason it is refused; who may only look cannot do it."""

    assert pages.post("/queue/delivery/pause", {"why": "x"}, "viewer").status_code == 403
    refused = pages.post("/queue/delivery/pause", {"why": " "}, "admin")
    assert "say why" in text_of(pages.get(refused.headers["location"], "admin").text)
    pages.post("/queue/delivery/pause", {"why": "the PACS is being moved"}, "admin")
    assert "the PACS is being moved" in text_of(pages.get("/queue", "viewer").text)
    pages.post("/queue/delivery/resume", name="admin")
    with pages.database.read() as tx:
        assert queues.paused(tx) == {}


def test_a_stage_that_there_is_not_is_not_found(pages: Pages) -> None:
    """Names of stages and states are ours."""

    assert pages.get("/queue/nothing").status_code == 404
    assert pages.get("/queue/analysis?state=other").status_code == 404
