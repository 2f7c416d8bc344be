"""Realised rate: how often healthy scans are held, beside what so small a calibration promises.

    python -m models.evaluation.realised_rate ../shared/data --scores SCORES.json --picture OUT.png

Scores are made once and kept in SCORES.json. T1 and FLAIR: the subjects of the shipped calibration,
each scored by a model fitted without it, and the dev subjects scored by the shipped model (of FLAIR
stacks only slices far from any lesion count: every patient has a glioma). Chest: features of single
slices against a Gaussian fitted to other patients' normal slices.

Two questions. The shipped calibration against dev is the one that a site asks. Random splits of all
scores make calibration and test exchangeable by construction: they show that the machinery keeps
its promise, not that another hospital's scans are like these.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models import shared_weights
from models.detector import load
from models.evaluation.chest_slices import described
from models.evaluation.coverage import Splits, combined, coverage, plausible, repeated
from models.evaluation.intervals import fraction
from models.features import backbone
from models.prepare import normalised
from models.registry import SHIPPED_BUNDLES, read_bundle
from models.scoring import Example, restricted
from models.sources import SOURCES

RATES = (0.05, 0.1, 0.2, 0.3, 0.5)
REPEATS = 2000
BUNDLES = {"mr-brain-t1": "brain_t1_healthy_oasis", "mr-brain-flair": "brain_flair_lgg"}
CHEST = "chest_ct_iqoth"


@dataclass(frozen=True, slots=True)
class Scores:
    """One set's scores.

    Attributes:
        levels: a row of raw deciding scores for each scan.
        groups: whose each scan is.
        calibrated: the first so many rows are the shipped calibration; 0 without one.
    """

    levels: list[list[float]]
    groups: list[str]
    calibrated: int


def of_bundle(data: Path, name: str) -> Scores:
    """Return the scores of a shipped bundle's calibration and of its set's dev scans."""
    assessor = load(read_bundle(SHIPPED_BUNDLES / name))
    known = assessor.calibration
    kept = np.array([known.scores[level] for level in known.deciding]).T
    levels = [[float(value) for value in row] for row in kept]
    groups = [f"calibration-{index}" for index in range(len(levels))]
    for scan in SOURCES[BUNDLES[name]].read(data / BUNDLES[name], "dev"):
        found = assessor.located(scan.volume)
        scores: dict[str, float] = {}
        for index, member in enumerate(assessor.members):
            prepared = normalised(assessor.prepared(found, index), member.grid)
            usable = scan.normal[np.round(prepared.positions[0]).astype(np.intp)]
            if not usable.any():
                break
            seen = restricted(Example(scan.subject, scan.site, prepared, usable))
            own = member.judge(seen).scores
            scores |= {f"{member.name}.{level}": value for level, value in own.items()}
        else:
            levels.append([scores[level] for level in known.deciding])
            groups.append(scan.subject)
        sys.stderr.write(f"{name} {scan.name}\n")
    return Scores(levels, groups, len(kept))


def of_chest(data: Path) -> Scores:
    """Return the scores of normal chest slices of patients that the Gaussian was not fitted to."""
    from sklearn.covariance import LedoitWolf

    network = backbone.from_weights(shared_weights.read(shared_weights.BACKBONE))
    source = SOURCES[CHEST]
    scans = [
        scan
        for split in ("train", "dev")
        for scan in source.read(data / CHEST, split)
        if scan.label == "normal"
    ]
    slices = described(scans, network)
    sys.stderr.write(f"{CHEST} {len(slices)} slices\n")
    names = sorted({one.patient for one in slices})
    fitted = set(np.random.default_rng(0).permutation(names)[: len(names) // 3].tolist())
    reference = np.stack([one.features for one in slices if one.patient in fitted])
    others = [one for one in slices if one.patient not in fitted]
    precision = np.asarray(LedoitWolf().fit(reference).precision_, dtype=np.float64)
    offsets = np.stack([one.features for one in others]) - reference.mean(axis=0)
    distances = np.einsum("ij,jk,ik->i", offsets, precision, offsets)
    return Scores([[float(one)] for one in distances], [one.patient for one in others], 0)


def scores_of(data: Path, kept: Path) -> dict[str, Scores]:
    """Return every set's scores, from the file where they are there already."""
    found: dict[str, Scores] = {}
    if kept.exists():
        found = {name: Scores(**one) for name, one in json.loads(kept.read_text()).items()}
    for name in (*BUNDLES, CHEST):
        if name not in found:
            found[name] = of_chest(data) if name == CHEST else of_bundle(data, name)
            kept.write_text(json.dumps({key: asdict(one) for key, one in found.items()}))
    return found


def shipped_table(found: Mapping[str, Scores]) -> list[str]:
    """Return the lines of the table: the shipped calibration against scans it has not seen."""
    lines = ["| set | n | nominal | 95 % of calibrations | scans | held | realised | plausible |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, one in found.items():
        if not one.calibrated:
            continue
        levels = np.array(one.levels)
        reference, rest = levels[: one.calibrated], levels[one.calibrated :]
        own = combined(reference, reference)
        beyond = (own[None, :] >= combined(rest, reference)[:, None]).sum(axis=1)
        p_values = (1 + beyond) / (len(reference) + 1)
        for rate in RATES:
            known = coverage(len(reference), rate)
            held, judged = int((p_values <= rate + 1e-9).sum()), len(rest)
            least, most = plausible(known, judged)
            exact = fraction(held, judged)
            lines.append(
                f"| {name} | {known.size} | {rate:g} | {known.low:.3f}-{known.high:.3f} | {judged} "
                f"| {held} | {exact} | {least}-{most} |"
            )
    return lines


def split_table(splits: Mapping[str, Sequence[Splits]]) -> list[str]:
    """Return the lines of the table: random calibrations."""
    lines = [
        "| set | n | judged | nominal | 95 % of calibrations | mean | 95 % of splits | inside |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in splits.items():
        for one in rows:
            low, high = np.quantile(one.rates, (0.025, 0.975))
            known = one.known
            lines.append(
                f"| {name} | {known.size} | {one.judged.mean():.0f} | {known.rate:g} | "
                f"{known.low:.3f}-{known.high:.3f} | {one.rates.mean():.3f} | {low:.3f}-{high:.3f} "
                f"| {100 * one.inside:.0f} % |"
            )
    return lines


def picture(splits: Mapping[str, Sequence[Splits]]) -> Figure:
    """Return realised rates of the splits against the nominal rate, over the Beta interval."""
    figure = Figure(figsize=(3.3 * len(splits), 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(splits), squeeze=False, sharey=True)
    for panel, (name, rows) in zip(
        cast("list[Axes]", list(panels[0])), splits.items(), strict=True
    ):
        fine = np.linspace(0.02, 0.55, 200)
        bands = [coverage(rows[0].known.size, float(rate)) for rate in fine]
        judged = round(float(rows[0].judged.mean()))
        counts = [plausible(band, judged) for band in bands]
        panel.fill_between(
            fine,
            [least / judged for least, _ in counts],
            [most / judged for _, most in counts],
            color="#dddddd",
            linewidth=0,
            label="95 % of counts on so few scans (beta-binomial)",
        )
        panel.fill_between(
            fine,
            [band.low for band in bands],
            [band.high for band in bands],
            color="#56B4E9",
            alpha=0.45,
            linewidth=0,
            label="95 % of calibrations (Beta)",
        )
        panel.plot((0, 0.55), (0, 0.55), color="#8a8a8a", linewidth=1)
        x = np.array([one.known.rate for one in rows])
        y = np.array([one.rates.mean() for one in rows])
        low = np.array([np.quantile(one.rates, 0.025) for one in rows])
        high = np.array([np.quantile(one.rates, 0.975) for one in rows])
        panel.errorbar(
            x,
            y,
            yerr=(y - low, high - y),
            fmt="o",
            color="#D55E00",
            markersize=4,
            capsize=2.5,
            linewidth=1.2,
            label=f"{REPEATS} random calibrations: mean, 95 %",
        )
        panel.set_title(
            f"{name}\nn = {rows[0].known.size}, judged {judged}", fontsize=8, loc="left"
        )
        panel.set_xlabel("nominal false-hold rate", fontsize=8)
        panel.tick_params(labelsize=7.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlim(0, 0.55)
        panel.set_ylim(0, 1.0)
    first = cast("Axes", panels[0][0])
    first.set_ylabel("realised rate", fontsize=8)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def measured(found: Mapping[str, Scores]) -> dict[str, list[Splits]]:
    """Return the random calibrations of each set; of the chest by patient and by slice."""
    splits: dict[str, list[Splits]] = {}
    for name, one in found.items():
        levels = np.array(one.levels)
        slices = [str(index) for index in range(len(levels))]
        ways = {f"{name}, by patient": one.groups, f"{name}, by slice": slices}
        for label, groups in ways.items() if name == CHEST else ((name, one.groups),):
            size = len(set(groups)) // 2 if name == CHEST else _shipped_size(one)
            splits[label] = [repeated(levels, groups, size, rate, REPEATS) for rate in RATES]
    return splits


def _shipped_size(one: Scores) -> int:
    """Return a calibration as large as leaves a fifth of the subjects to judge."""
    return max(19, round(0.5 * len(set(one.groups))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the two tables, draw the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = scores_of(options.data, options.scores)
    splits = measured(found)
    sys.stdout.write("\n".join([*shipped_table(found), "", *split_table(splits), ""]))
    if options.picture is not None:
        picture(splits).savefig(options.picture, metadata={"Software": None})


if __name__ == "__main__":
    main()
