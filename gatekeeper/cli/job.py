"""`gatekeeper job`: the queue, and a second chance for what was set aside."""

from __future__ import annotations

from typing import Annotated

import typer

from gatekeeper.cli.output import console, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from storage import jobs
from storage.records import JobState

app = typer.Typer(help="Jobs: the queue of studies to analyse.", no_args_is_help=True)


@app.command(name="list")
def list_jobs(
    context: typer.Context,
    state: Annotated[JobState | None, typer.Option(help="only jobs in this state")] = None,
    limit: Annotated[int, typer.Option(help="newest jobs shown", min=1, max=10000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    with site_of(context).database() as database, database.read() as tx:
        found = jobs.listing(tx, state=state, limit=limit)
    emit_rows(
        "Jobs",
        found,
        {
            "job": lambda job: str(job.id),
            "study": lambda job: job.study_instance_uid,
            "revision": lambda job: str(job.revision),
            "state": lambda job: str(job.state),
            "attempt": lambda job: str(job.attempt),
            "created": lambda job: moment(job.created_at),
            "reason": lambda job: job.reason,
        },
        as_json=as_json,
        empty="No jobs.",
    )


@app.command()
def retry(
    context: typer.Context, job_id: Annotated[int, typer.Argument(help="number of a dead job")]
) -> None:
    """Queue a dead job again with a fresh number of attempts."""
    with site_of(context).database() as database, database.begin() as tx:
        job = jobs.get(tx, job_id)
        if job is None:
            fail(f"job {job_id} is not known")
        if not jobs.retry(tx, job_id):
            fail(f"job {job_id} is {job.state}; only a dead job can be queued again")
    console.print(f"Job {job_id} is queued again.")
