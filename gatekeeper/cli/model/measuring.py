"""`gatekeeper model evaluate` and `compare`: what bundles are worth on a set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.model.common import (
    BundleName,
    Data,
    Device,
    Form,
    Reference,
    Split,
    counted,
    model_errors,
    progress_bars,
    registry_of,
)
from gatekeeper.cli.model.fitting import own_device
from gatekeeper.cli.output import console, emit_json, error_console, fail
from gatekeeper.cli.site import AsJson
from models.errors import ModelError
from models.evaluation.plain import finite
from models.registry import BundleInfo, Registry

if TYPE_CHECKING:
    from models.artefacts import Strength
    from models.assessor import Assessor
    from models.evaluation.comparison import Comparison
    from models.evaluation.quality_gate import QualityGate
    from models.evaluation.record import Evaluation

Limit = Annotated[int, typer.Option(min=0, help="at most so many scans; 0 for all")]
Seed = Annotated[int, typer.Option(help="of every resampling")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(evaluate)
    app.command()(compare)


def evaluate(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(help="bundles to measure on the same scans")],
    data: Data,
    form: Form = None,
    split: Split = "dev",
    out: Annotated[Path | None, typer.Option(help="HTML file that receives the report")] = None,
    limit: Limit = 0,
    seed: Seed = 0,
    faults: Annotated[
        bool, typer.Option("--faults", help="also put acquisition faults on the healthy scans")
    ] = False,
    strength: Annotated[
        list[str] | None,
        typer.Option(help="of the faults: mild, moderate, strong; repeatable; all of them if none"),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="put the figures into the named manifests: new digests")
    ] = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure bundles on a set, beside the floors of the same profile, and write a report."""
    if out is not None and out.exists():
        fail(f"{out} exists")
    with model_errors():
        registry = registry_of(context)
        infos = [registry.get(name) for name in names]
        floors = floors_for(registry, infos)
        reference = Reference(data, form, split, infos[0].profile, limit)
        detectors = _loaded([*infos, *floors], own_device(device))
        found, gate, page = _measured(
            context,
            reference,
            detectors,
            [info.name for info in floors],
            seed,
            _strengths(strength) if faults else (),
            infos[0],
        )
        reference.report()
        if out is not None:
            out.write_text(page, encoding="utf-8")
        if write:
            _write_metrics(infos, floors, found, gate, f"{data.name}, {split}")
    if as_json:
        emit_json(
            {
                "evaluations": {name: one.as_json() for name, one in found.items()},
                "faults": finite(gate.to_dict()) if gate is not None else None,
            }
        )
        return
    console.print(_table(found))
    if gate is not None:
        typer.echo(gate.table())
    if out is not None:
        console.print(f"Wrote {out}.", highlight=False)


def floors_for(registry: Registry, infos: Sequence[BundleInfo]) -> list[BundleInfo]:
    """Return the installed floors of the bundles' profile that are not among them.

    Raises:
        ModelError: if the bundles are for different profiles.
    """
    from models.detector import FLOORS

    key = infos[0].profile.key
    for info in infos:
        if info.profile.key != key:
            raise ModelError(f"{info.name} is for {info.profile.key}, {infos[0].name} for {key}")
    named = {info.name for info in infos}
    return [
        info
        for info in registry.bundles()
        if info.detector in FLOORS and info.profile.key == key and info.name not in named
    ]


def _loaded(infos: Sequence[BundleInfo], device: str) -> dict[str, Assessor]:
    from models.detector import load

    return {info.name: load(info, device) for info in infos}


def _measured(
    context: typer.Context,
    reference: Reference,
    detectors: Mapping[str, Assessor],
    floors: Sequence[str],
    seed: int,
    strengths: Sequence[Strength],
    first: BundleInfo,
) -> tuple[dict[str, Evaluation], QualityGate | None, str]:
    """Return the records, the faults' record when asked for, and the report."""
    from models.evaluation import assess, report
    from models.evaluation.gallery import Gallery

    gallery = Gallery()
    with progress_bars() as progress:
        found = assess.evaluate(
            detectors,
            reference.scans(context),
            floors=floors,
            seed=seed,
            seen=gallery.see,
            progress=counted(progress, "scans"),
        )
        if not all(one.scans for one in found.values()):
            raise ModelError(f"{reference.folder}: no scan of the split {reference.split}")
        gate = None
        if strengths:
            gate = _gate(context, reference, detectors, seed, strengths, progress)
    title = report.Title(
        name=", ".join(name for name in detectors if name not in floors),
        digest=first.digest,
        data_set=f"{reference.folder.name}, {reference.split}",
        cannot_show=tuple(str(text) for text in first.manifest.get("not_tested_on", ())),
        facts={"Version": first.version, "Licence": first.weights_licence},
    )
    return found, gate, report.render(title, found, gallery, seed)


def _strengths(names: Sequence[str] | None) -> tuple[Strength, ...]:
    """Return the strengths of these names, all of them for none."""
    from models.artefacts import Strength

    known = {str(one): one for one in Strength}
    if unknown := sorted(set(names or ()) - set(known)):
        raise ModelError(f"no strength {unknown[0]!r}; there are: {', '.join(known)}")
    return tuple(one for name, one in known.items() if not names or name in names)


def _gate(
    context: typer.Context,
    reference: Reference,
    detectors: Mapping[str, Assessor],
    seed: int,
    strengths: Sequence[Strength],
    progress: Any,
) -> QualityGate:
    try:
        from models.evaluation import quality_gate
    except ModuleNotFoundError as error:
        raise ModelError(f"--faults needs the package {error.name}") from error
    from models.evaluation.assess import stated_abnormal

    healthy = [scan for scan in reference.scans(context) if not stated_abnormal(scan)]
    if not healthy:
        raise ModelError("no scan is healthy: there is none to put faults on")
    return quality_gate.measure(
        detectors,
        healthy,
        strengths=strengths,
        progress=lambda done, total, _what: progress("faults", done, total),
        seed=seed,
    )


def _write_metrics(
    infos: Sequence[BundleInfo],
    floors: Sequence[BundleInfo],
    found: Mapping[str, Evaluation],
    gate: QualityGate | None,
    data_set: str,
) -> None:
    """Put each bundle's figures, and the floors' beside them, into its manifest."""
    from models.training.bundle import attach_metrics

    def figures(name: str) -> dict[str, Any]:
        faults = {} if gate is None else {"faults": fault_summary(gate, name)}
        return summary(found[name]) | faults

    beside = {floor.name: figures(floor.name) for floor in floors}
    for info in infos:
        metrics = finite(figures(info.name) | {"floors": beside})
        attach_metrics(info.path, {**info.manifest.get("metrics", {}), data_set: metrics})
        error_console.print(f"Wrote the figures into {info.name}: it has a new digest.")


def summary(one: Evaluation) -> dict[str, Any]:
    """Return the figures of an evaluation for a manifest: nothing of a single scan, no curves."""
    record = one.as_json()
    record["patients"] = len({scan.subject for scan in one.scans})
    record["refused"] = one.refused
    record["scans"] = len(one.scans)
    for part, names in (
        ("voxels", ("roc", "precision_recall", "pro")),
        ("slices", ("scores",)),
        ("clean", ("p_values",)),
    ):
        for name in names:
            cast("dict[str, Any]", record[part] or {}).pop(name, None)
    # Stated by the bundle itself.
    for name in ("profile", "bundle_version", "model_digest", "calibration", "calibration_size"):
        record.pop(name)
    return record


def fault_summary(gate: QualityGate, name: str) -> dict[str, Any]:
    """Return the mean figures of one detector over all faults, for a manifest."""
    record = gate.to_dict()
    return {
        "statement": record["statement"],
        "false_holds": record["false_holds"],
        "means": [one for one in record["means"] if one["detector"] == name],
        "rows": [
            {key: one[key] for key in ("fault", "strength", "setting", "auroc", "sensitivity")}
            for one in record["rows"]
            if one["detector"] == name
        ],
    }


def _table(found: Mapping[str, Evaluation]) -> Table:
    table = Table(title="Evaluation", title_justify="left")
    for heading in ("detector", "patients", "refused", "AUROC", "held normal", "held abnormal"):
        table.add_column(heading, overflow="fold")
    table.add_column("voxel AP", overflow="fold")
    for name, one in found.items():
        table.add_row(
            escape(name + (" (floor)" if one.floor else "")),
            str(len({scan.subject for scan in one.scans})),
            str(one.refused),
            str(one.study[0].auroc) if one.study else "",
            str(one.held_normal or ""),
            str(one.held_abnormal or ""),
            f"{one.voxels.pooled.ap.value:.3f}" if one.voxels else "",
        )
    return table


def compare(
    context: typer.Context,
    first: BundleName,
    second: BundleName,
    data: Data,
    form: Form = None,
    split: Split = "dev",
    limit: Limit = 0,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Compare two bundles on the same patients, paired, and say which is better, if any."""
    from models.evaluation import assess
    from models.evaluation.versus import against

    if first == second:
        fail("a bundle is not compared with itself")
    with model_errors():
        registry = registry_of(context)
        infos = [registry.get(name) for name in (first, second)]
        floors_for(registry, infos)  # refuses bundles of different profiles
        reference = Reference(data, form, split, infos[0].profile, limit)
        detectors = _loaded(infos, own_device(device))
        with progress_bars() as progress:
            found = assess.evaluate(
                detectors, reference.scans(context), seed=seed, progress=counted(progress, "scans")
            )
        reference.report()
    result = against(found[first], found[second], seed)
    rows = {
        "study AUROC (DeLong)": result.study,
        "study AUROC (bootstrap)": result.study_bootstrap,
        "voxel AP, patient mean": result.voxel_ap,
        "AU PRO30, patient mean": result.voxel_aupro30,
        "Dice, patient mean": result.dice,
    }
    if as_json:
        emit_json(finite(dataclasses.asdict(result)))
        return
    table = Table(title=escape(f"{first} against {second}"), title_justify="left")
    for heading in ("measure", first, second, "difference", "p", "patients"):
        table.add_column(escape(heading), overflow="fold")
    for measure, one in rows.items():
        if one is not None:
            figures = (f"{one.first:.3f}", f"{one.second:.3f}", str(one.difference))
            table.add_row(measure, *figures, f"{one.p_value:.3g}", str(one.patients))
    console.print(table)
    console.print(in_words(first, second, rows), highlight=False)


def in_words(first: str, second: str, rows: Mapping[str, Comparison | None]) -> str:
    """Return what a paired comparison shows, in one sentence."""
    for measure, one in rows.items():
        if one is None or one.difference.low != one.difference.low:
            continue
        low, high = one.difference.low, one.difference.high
        size = f"{measure} {one.first:.3f} against {one.second:.3f}, {one.patients} patients"
        if low > 0:
            return f"{first} is better than {second}: {size}, p = {one.p_value:.3g}."
        if high < 0:
            return f"{first} is worse than {second}: {size}, p = {one.p_value:.3g}."
        return (
            f"No difference between {first} and {second} is shown: {size}; the difference lies "
            f"between {low:+.3f} and {high:+.3f} (95 %)."
        )
    return (
        f"Nothing can be said of {first} and {second}: the set has neither both normal and "
        "abnormal patients nor lesions drawn."
    )
