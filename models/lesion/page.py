"""Page: an assessment of the lesion model as one HTML file with its plots, figures as JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from models.evaluation.comparison import Comparison
from models.evaluation.intervals import Figure as Estimate
from models.evaluation.page import STYLE
from models.evaluation.reliability import reliability_curve
from models.evaluation.tables import NONE, figure, number, p_value, table
from models.lesion.assess import Assessment, Kind
from models.lesion.clusters import Clustering
from models.lesion.crossvalidation import PatientScores, averaged
from models.lesion.floors import NAMES
from models.lesion.model import left_out

_COLOURS = ("#0072B2", "#D55E00")
_NOTE = (
    "Every score is of a patient that neither network nor classifier had seen; joint tuning runs "
    "inside each fold. Intervals are 95 %."
)
_GREYS = ("#333333", "#555555", "#777777", "#999999", "#bbbbbb")


def render(
    found: Assessment,
    data_set: str,
    command: str,
    limits: Sequence[str],
    pictures: Mapping[str, tuple[str, bytes]],
) -> str:
    """Return the report as HTML with nothing outside it.

    Args:
        found: what was measured.
        data_set: the set and its split, in a sentence.
        command: that makes it again.
        limits: what the set cannot show, a sentence each.
        pictures: caption -> media type and content.
    """
    benign, malignant = found.patients
    parts = [
        "<header><h1>Lesions: benign or malignant</h1><dl>",
        _fact("data", data_set),
        _fact(
            "patients",
            f"{benign} benign, {malignant} malignant ({found.patches[0]} and {found.patches[1]} "
            f"patches); {found.unlabelled} patches of other patients for the autoencoder alone",
        ),
        _fact("command", command),
        "</dl></header>",
        '<section class="limits"><h2>What this cannot show</h2><ul>',
        *(f"<li>{escape(one)}</li>" for one in limits),
        "</ul></section>",
        "<h2>Benign against malignant, by patient</h2>",
        f"<p>{_NOTE}</p>",
        _scores(found),
        _image("image/png", _roc(found), "ROC over patients.", "small"),
        "<h2>Against each floor</h2>",
        _against(found),
        _repeated(found),
        "<h2>Calibration</h2>",
        _calibrated(found),
        _image(
            "image/png", _reliability(found), "Stated and observed, patients left out.", "small"
        ),
        "<h2>Reconstruction of unseen patients, and the code</h2>",
        _drawn(found),
        _clusters(found),
        _disentangled(found),
        _ablated(found),
        _searched(found),
        "<h2>Traversals</h2>" if pictures else "",
        *(_image(kind, content, caption, "") for caption, (kind, content) in pictures.items()),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Lesions</title>'
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def as_json(found: Assessment) -> str:
    """Return every figure of the assessment as JSON."""
    return json.dumps(
        {
            "patients": found.patients,
            "patches": found.patches,
            "floors": {name: _figures(one) for name, one in found.floors.items()},
            "kinds": {name: _kind(one) for name, one in found.kinds.items()},
            "disentanglement": asdict(found.disentanglement) if found.disentanglement else None,
            "ablations": {
                one.name: {
                    "ssim": one.similarity.as_list(),
                    "mse": asdict(one.error),
                    "kl": one.divergence,
                    "frozen": _figures(one.frozen),
                    "joint": _figures(one.joint),
                }
                for one in found.ablations
            },
            "trials": [dict(one) for one in found.trials],
        },
        indent=1,
    )


def _kind(one: Kind) -> dict[str, Any]:
    calibration = asdict(one.calibration)
    del calibration["draws"]
    return {
        "ssim": one.similarity.as_list(),
        "mse": asdict(one.error),
        "kl": float(one.result.divergence.mean()),
        "config": asdict(one.result.config),
        "frozen": _figures(one.result.frozen),
        "joint": _figures(one.result.joint),
        "clusterings": [asdict(cluster) for cluster in one.clusterings],
        "calibration": calibration,
        "against": {name: asdict(value) for name, value in one.against.items()},
        "alone_against": {name: asdict(value) for name, value in one.alone_against.items()},
        "partitions": [
            {
                "lengths": own.lengths,
                "inner": own.inner.tolist() if np.isfinite(own.inner).all() else None,
                **{
                    what: {
                        "ensemble": averaged(each).delong.as_list(),
                        "members": [member.delong.value for member in each],
                    }
                    for what, each in zip(("frozen", "joint"), both, strict=True)
                },
            }
            for own, both in zip(one.partitions, one.members, strict=True)
        ],
    }


def _figures(one: PatientScores) -> dict[str, Any]:
    return {
        "delong": one.delong.as_list(),
        "bootstrap": one.bootstrap.as_list(),
        "accuracy": one.accuracy.as_list(),
        "logits": {name: round(float(v), 4) for name, v in zip(one.names, one.logits, strict=True)},
    }


def _fact(name: str, value: str) -> str:
    return f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"


def _scores(found: Assessment) -> str:
    rows: list[tuple[bool, list[str]]] = []
    for name, kind in found.kinds.items():
        for what, one in (("codes alone", kind.result.frozen), ("joint", kind.result.joint)):
            rows.append((False, [f"{escape(name)}, {what}", *_cells(one)]))
    for name, one in found.floors.items():
        rows.append((True, [f"{escape(name)}<small>{NAMES[name]}</small>", *_cells(one)]))
    return table(["score", "AUROC (DeLong)", "AUROC (bootstrap)", "accuracy"], rows)


def _cells(one: PatientScores) -> list[str]:
    return [figure(one.delong), figure(one.bootstrap), figure(one.accuracy)]


def _against(found: Assessment) -> str:
    rows = [
        (False, [f"{escape(name)}, {what}, less {escape(floor)}", *_difference(one)])
        for name, kind in found.kinds.items()
        for what, beside in (("codes alone", kind.alone_against), ("joint", kind.against))
        for floor, one in beside.items()
    ]
    return table(["model less floor", "difference in AUROC", "p (paired DeLong)"], rows)


def _repeated(found: Assessment) -> str:
    rows: list[tuple[bool, list[str]]] = []
    for name, kind in found.kinds.items():
        for place, (own, both) in enumerate(zip(kind.partitions, kind.members, strict=True)):
            for what, each in (
                ("codes alone", both[0]),
                ("joint", both[1]),
            ):
                alone = [one.delong.value for one in each]
                whole = averaged(each).delong
                rows.append(
                    (False, [f"{escape(name)}, partition {place + 1}, {what}", figure(whole),
                             f"{min(alone):.3f} to {max(alone):.3f} ({len(each)})",
                             ", ".join(str(one) for one in own.lengths)])
                )  # fmt: skip
    if not rows:
        return ""
    head = ["ensemble", "AUROC (DeLong)", "its members alone", "steps chosen, by fold"]
    return (
        "<h2>Each partition of the patients</h2><p>The steps are chosen by patients of the other "
        "folds; above, a patient's score is the mean over partitions.</p>" + table(head, rows)
    )


def _difference(one: Comparison) -> list[str]:
    return [figure(one.difference, signed=True), p_value(one.p_value)]


def _calibrated(found: Assessment) -> str:
    rows = [
        (
            False,
            [
                escape(name),
                number(kind.calibration.slope),
                number(kind.calibration.intercept),
                number(kind.calibration.brier),
                number(kind.calibration.prevalence * (1 - kind.calibration.prevalence)),
                number(kind.calibration.expected_error),
            ],
        )
        for name, kind in found.kinds.items()
    ]
    head = ["latent", "slope", "intercept", "Brier", "Brier of the prevalence", "ECE, 5 bins"]
    return table(head, rows)


def _drawn(found: Assessment) -> str:
    rows = [
        (
            False,
            [
                escape(name),
                figure(kind.similarity),
                _fine(kind.error),
                number(float(kind.result.divergence.mean())),
            ],
        )
        for name, kind in found.kinds.items()
    ]
    return table(["latent", "SSIM", "MSE", "KL, nats"], rows)


def _fine(value: Estimate) -> str:
    return f"{value.value:.4f}<small>{value.low:.4f} to {value.high:.4f}</small>"


def _grouped(name: str, one: Clustering) -> str:
    return f"{escape(name)}, by {one.by}"


def _clusters(found: Assessment) -> str:
    rows = [
        (False, [_grouped(name, one), str(one.groups), figure(one.rand), figure(one.silhouette)])
        for name, kind in found.kinds.items()
        for one in kind.clusterings
    ]  # fmt: skip
    return table(["code, grouping", "groups", "adjusted Rand of k-means", "silhouette"], rows)


def _disentangled(found: Assessment) -> str:
    one = found.disentanglement
    if one is None:
        return ""
    rows = [
        (False, [name, figure(first), figure(second), figure(difference, signed=True)])
        for name, first, second, difference in (
            ("SAP", one.first, one.second, one.difference),
            ("MIG", one.first_mig, one.second_mig, one.mig_difference),
        )
    ]
    return "<h2>Disentanglement</h2>" + table(
        ["measure", "Gaussian", "Dirichlet", "Dirichlet less Gaussian"], rows
    )


def _ablated(found: Assessment) -> str:
    if not found.ablations:
        return ""
    rows = [
        (False, [escape(one.name), figure(one.similarity), f"{one.error.value:.4f}",
                 number(one.divergence), figure(one.frozen.delong), figure(one.joint.delong)])
        for one in found.ablations
    ]  # fmt: skip
    head = ["loss", "SSIM", "MSE", "KL, nats", "AUROC, codes alone", "AUROC, joint"]
    return "<h2>What each part of the loss does</h2>" + table(head, rows)


def _searched(found: Assessment) -> str:
    if not found.trials:
        return ""
    names = sorted({name for one in found.trials for name in one})
    rows = [
        (False, [str(place + 1), *(number(one[n]) if n in one else NONE for n in names)])
        for place, one in enumerate(found.trials)
    ]
    return "<h2>Search for the autoencoder's settings</h2>" + table(
        ["trial", *names], rows, "close"
    )


def _roc(found: Assessment) -> bytes:
    drawing, panel = _panel()
    for place, (name, one) in enumerate(found.floors.items()):
        panel.plot(*_curve(one), label=name, color=_GREYS[place % 5], linestyle="--", linewidth=1.1)
    for colour, (name, kind) in zip(_COLOURS, found.kinds.items(), strict=False):
        panel.plot(*_curve(kind.result.joint), label=f"{name}, joint", color=colour, linewidth=2)
    panel.plot((0, 1), (0, 1), color="#dddddd", zorder=0)
    panel.set_xlabel("benign patients called malignant")
    panel.set_ylabel("malignant patients called so")
    return _png(drawing, panel)


def _curve(one: PatientScores) -> tuple[list[float], list[float]]:
    cuts = np.unique(one.logits)[::-1]
    sides = [one.logits[~one.truth], one.logits[one.truth]]
    x, y = ([0.0, *(float((side >= cut).mean()) for cut in cuts)] for side in sides)
    return x, y


def _reliability(found: Assessment) -> bytes:
    drawing, panel = _panel()
    for colour, (name, kind) in zip(_COLOURS, found.kinds.items(), strict=False):
        scores = kind.result.joint
        bins = reliability_curve(left_out(scores.logits, scores.truth), scores.truth, 5)
        x = np.array([one.stated for one in bins])
        y = np.array([one.observed.value for one in bins])
        spread = (y - [one.observed.low for one in bins], [one.observed.high for one in bins] - y)
        panel.errorbar(x, y, yerr=spread, fmt="o", color=colour, label=name, capsize=2)
    panel.plot((0, 1), (0, 1), color="#dddddd", zorder=0)
    panel.set_xlabel("stated probability")
    panel.set_ylabel("part malignant")
    return _png(drawing, panel)


def _panel() -> tuple[Drawing, Axes]:
    drawing = Drawing(figsize=(5.2, 5.4), dpi=150, layout="constrained")
    FigureCanvasAgg(drawing)
    panel = drawing.subplots()
    panel.spines[["top", "right"]].set_visible(False)
    return drawing, panel


def _png(drawing: Drawing, panel: Axes) -> bytes:
    panel.legend(loc="lower right", fontsize=7.5, frameon=False)
    stream = io.BytesIO()
    drawing.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _image(kind: str, content: bytes, caption: str, size: str) -> str:
    data = base64.b64encode(content).decode()
    css = f' class="{size}"' if size else ""
    return (
        f'<figure{css}><img alt="{escape(caption)}" src="data:{kind};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
