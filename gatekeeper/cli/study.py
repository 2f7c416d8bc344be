"""`gatekeeper study`: what was received, what was found, and where it went."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gatekeeper.cli import decisions
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment, verdict_text
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.explanations import explanations
from gatekeeper.history import ForwardHistory, StudyHistory, find_studies, read_history
from storage import priors
from storage.records import ForwardState, Outcome
from storage.study_search import Stage, StudyFilter

app = typer.Typer(
    help="Studies: what was received, what was found, and what is held.", no_args_is_help=True
)
decisions.register(app)


@app.command(name="list")
def list_studies(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="newest studies shown", min=1, max=10000)] = 50,
    text: Annotated[
        str, typer.Option(help="words in name, numbers, description or UID of the study")
    ] = "",
    verdict: Annotated[str, typer.Option(help="of the latest analysis: SUSPECT, ...")] = "",
    stage: Annotated[Stage | None, typer.Option(help="where the study is on its way")] = None,
    held: Annotated[bool | None, typer.Option("--held/--not-held", help="at the gate")] = None,
    modality: Annotated[str, typer.Option(help="of one of its series")] = "",
    source: Annotated[str, typer.Option(help="calling AE title that it came from")] = "",
    device: Annotated[str, typer.Option(help="scanner, as calibrations name it")] = "",
    as_json: AsJson = False,
) -> None:
    """List the newest studies with their verdicts, or those that have what is asked for."""
    asked = StudyFilter(
        text=text,
        verdict=verdict.upper(),
        stage=stage,
        held=held,
        modality=modality.upper(),
        source_ae=source,
        device=device,
    )
    with site_of(context).database() as database, database.read() as tx:
        summaries = [line.summary for line in find_studies(tx, asked, limit).lines]
    emit_rows(
        "Studies",
        summaries,
        {
            "Study Instance UID": lambda row: row.study_instance_uid,
            "from": lambda row: row.source_ae,
            "instances": lambda row: str(row.instances),
            "last received": lambda row: moment(row.last_received_at),
            "stage": lambda row: row.stage,
            "verdict": lambda row: verdict_text(row.verdict) if row.verdict else "",
            "held from": lambda row: ", ".join(row.held_from),
            "p": lambda row: "" if row.p_value is None else f"{row.p_value:.3f}",
        },
        as_json=as_json,
        empty="No such studies." if asked != StudyFilter() else "No studies yet.",
    )


@app.command()
def show(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(help="Study Instance UID")],
    as_json: AsJson = False,
) -> None:
    """Show one study: content, jobs, verdicts, results, deliveries, and what the gate decided."""
    with site_of(context).database() as database, database.read() as tx:
        history = read_history(tx, uid)
    if history is None:
        fail(f"study {uid} is not known")
    if as_json:
        emit_json(asdict(history))
        return
    _print(history)


@app.command(name="fetch")
def fetch_again(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="of a request for priors, or a prior, set aside")],
) -> None:
    """Fetch priors again that were given up; `gatekeeper study show` has their numbers."""
    with site_of(context).database() as database, database.begin() as tx:
        found = priors.get(tx, number)
        if found is None:
            fail(f"prior {number} is not known")
        if not priors.retry(tx, number):
            fail(f"prior {number} is {found.state}; only a dead one can be fetched again")
    console.print(f"Prior {number} is queued again.")


def _print(history: StudyHistory) -> None:
    study = history.study
    console.print(f"[bold]{study.study_instance_uid}[/]", highlight=False)
    console.print(
        f"{study.instances} instances in {study.series} series from {study.source_ae}, "
        f"{study.state}, revision {study.revision}, last received {moment(study.last_received_at)}"
    )
    for prior in history.priors:
        what = f"prior {prior.prior_study_uid}" if prior.prior_study_uid else "priors asked for"
        console.print(
            f"{prior.id}: {what}, {prior.node}, rule {prior.rule}: {prior.state} {prior.reason}",
            highlight=False,
            markup=False,
        )
    for step in history.jobs:
        job, outcome = step.job, step.outcome
        console.print(
            f"\nJob {job.id} (revision {job.revision}): {job.state}, attempt {job.attempt}"
        )
        if job.reason:
            console.print(f"  {job.reason}", highlight=False, markup=False)
        if outcome is not None:
            console.print(f"  {verdict_text(outcome.verdict)} {outcome.reason}", highlight=False)
            for sentence in (*_promises(outcome), *explained(outcome), *lesions_told(outcome)):
                console.print(f"  {sentence}", markup=False, highlight=False)
            stages = ", ".join(f"{name} {ms:.0f}" for name, ms in outcome.stages.items())
            console.print(f"  milliseconds: {stages}")
        for delivery in step.deliveries:
            console.print(
                f"  to {delivery.node}: {delivery.state}, "
                f"{delivery.items_stored} of {delivery.items} stored"
                + (f", {delivery.items_left_out} left out" if delivery.items_left_out else "")
                + f" {delivery.reason}"
                + (f"(confirmation {delivery.confirmation})" if delivery.confirmation else ""),
                markup=False,
            )
    for forward in history.forwards:
        _print_forward(forward)
    for word in history.feedback:
        console.print(
            f"\n{word.reviewer} {'agrees' if word.agrees else 'disagrees'} with {word.verdict}, "
            f"{moment(word.at)}. {word.remark}",
            markup=False,
            highlight=False,
        )


def _promises(outcome: Outcome) -> list[str]:
    """Return a sentence for each calibration that a verdict rests on; of older ones none."""
    rate = outcome.evidence.get("false_hold_rate")
    found = [
        f"{one['profile']}: {one['calibration_size']} calibration studies; where "
        f"{100 * one.get('false_hold_rate', rate):g} % "
        f"is stated, normal studies are held at {100 * low:.1f} to {100 * high:.1f} % (95 %)."
        for one in outcome.evidence.get("series", ())
        if rate and "realised_rate" in one
        for low, high in [one["realised_rate"]]
    ]
    return list(dict.fromkeys(found))


def explained(outcome: Outcome) -> list[str]:
    """Return what image and function together say of each series, which decides nothing."""
    told = explanations(outcome)
    found: list[str] = []
    if told.clinical_problem:
        found.append(f"The multimodal bundle could not be asked: {told.clinical_problem}")
    for one in told.clinical:
        adding = [part for part in one.contributions if part.share > 0][:3]
        shown = ", ".join(f"{part.name} {part.share:+.2f}" for part in adding)
        trial = " (TRIAL, simulated patients)" if one.simulated else ""
        found.append(
            f"{one.bundle}{trial}: image and function together p = {one.p_value:.3g}, "
            f"score {one.score:.4g}, mostly from {shown or 'nothing'}; explains alone."
        )
    return found


def lesions_told(outcome: Outcome) -> list[str]:
    """Return how likely each lesion is malignant, which decides nothing, and what was left out."""
    told = explanations(outcome)
    found = list(told.lesion_problems)
    for one in told.lesions:
        trial = " (TRIAL)" if one.trial else ""
        for lesion in one.lesions:
            low, high = lesion.interval
            beyond = "" if lesion.inside_calibration else ", beyond the calibration"
            found.append(
                f"{one.bundle}{trial}: lesion {lesion.number} ({lesion.origin} {lesion.within}) "
                f"malignant with probability {lesion.probability:.2f} ({low:.2f}-{high:.2f}, 95 %) "
                f"at {one.prevalence:.0%} malignant{beyond}; explains alone."
            )
        found += one.left_out
    return found


def _print_forward(history: ForwardHistory) -> None:
    forward, delivery = history.forward, history.delivery
    line = f"\nForward to {forward.node} (revision {forward.revision}): {forward.state}"
    if forward.state is ForwardState.HELD:
        line += f" since {moment(forward.held_at)}, until {moment(forward.hold_until)} at most"
    elif forward.decided_by:
        line += f" by {forward.decided_by}, {moment(forward.decided_at)}"
    console.print(line, markup=False, highlight=False)
    if forward.reason:
        console.print(f"  {forward.reason}", markup=False, highlight=False)
    if delivery is not None:
        console.print(
            f"  delivery {delivery.id}: {delivery.state}, "
            f"{delivery.items_stored} of {delivery.items} stored {delivery.reason}",
            markup=False,
        )
