"""Drift: how often the test of `models.drift` cries wolf, and how soon it sees what was put in.

    python -m models.evaluation.drift --streams 1000 --out FOLDER

Streams are made from a seed. Without drift: values of three populations, and header values that
are one number or a few, for which ties have to be broken. With drift: after the reference a shift,
in standard deviations, or a spread, or a header value that changes. The arithmetic is that of
`models.drift.sequential`, on arrays of streams; a test holds the two to each other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.drift.sequential import CEILING, SHIFTS, SPREADS, threshold
from models.evaluation.intervals import Figure, fraction

Values = NDArray[np.float64]
"""(streams, values)"""

REFERENCE = 60
"""Values before the first bet."""
RUN_LENGTH = 10_000.0
"""Stated: fewest values between false alarms, on average."""
ATTRIBUTES = 16
"""Header attributes that share half of the rate; the score has the other half."""
NEVER = -1
SIZES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Shifts that are put in, in standard deviations."""

Population = Callable[[np.random.Generator, tuple[int, int]], Values]

Change = Callable[[Values, np.random.Generator], Values]

POPULATIONS: dict[str, Population] = {
    "normal": lambda chance, shape: chance.normal(size=shape),
    "log-normal": lambda chance, shape: chance.lognormal(size=shape),
    "p-values of 19 scans": lambda chance, shape: np.ceil(20 * chance.random(shape)) / 20,
    "one value": lambda _chance, shape: np.full(shape, 2300.0),
    "three values": lambda chance, shape: chance.choice(
        [1.0, 1.5, 3.0], shape, p=[0.8, 0.15, 0.05]
    ),
}


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Of streams without drift.

    Attributes:
        population: which.
        values: of each stream after the reference.
        streams: how many.
        alarms: streams with an alarm.
        stated: part of the streams that may alarm.
        realised: part that did, with its exact interval.
    """

    population: str
    values: int
    streams: int
    alarms: int
    stated: float
    realised: Figure


@dataclass(frozen=True, slots=True)
class Delay:
    """Of streams with drift put in.

    Attributes:
        what: the change.
        before: values before it, the reference included.
        streams: how many, of those without an alarm before it.
        found: part that alarmed within `within` values of the change.
        within: values looked at after the change.
        median, late: values from the change to the alarm, of half and of nine tenths of the
            streams; `NEVER` where so many did not alarm.
    """

    what: str
    before: int
    streams: int
    found: Figure
    within: int
    median: int
    late: int


def p_values(values: Values, seed: int) -> Values:
    """Return the conformal p-values of each stream's values among those before them."""
    ties = np.random.default_rng(seed).random(values.shape)
    found = np.empty(values.shape)
    for index in range(values.shape[1]):
        before, value = values[:, :index], values[:, index : index + 1]
        higher = (before > value).sum(axis=1)
        equal = (before == value).sum(axis=1)
        found[:, index] = (higher + ties[:, index] * (1 + equal)) / (index + 1)
    return found


def statistics(found: Values, reference: int = REFERENCE) -> Values:
    """Return the statistic after each p-value, 0 within the reference."""
    edge = 1e-12
    z = stats.norm.isf(np.clip(found, edge, 1 - edge))
    levels = np.zeros((len(SHIFTS) * 2 + len(SPREADS), len(found)))
    shifts = np.array([*SHIFTS, *(-one for one in SHIFTS)])[:, None]
    scales = np.array(SPREADS)[:, None]
    values = np.zeros(found.shape)
    for index in range(reference, found.shape[1]):
        now = z[None, :, index]
        moved = np.exp(shifts * now - shifts**2 / 2)
        spread = np.exp(now**2 / 2 * (1 - scales**-2)) / scales
        levels = np.minimum((1 + levels) * np.concatenate([moved, spread]), CEILING)
        values[:, index] = levels.mean(axis=0)
    return values


def first_alarm(values: Values, limit: float) -> NDArray[np.int64]:
    """Return the index of each stream's first statistic that reaches the limit, or `NEVER`."""
    above = values >= limit
    return np.where(above.any(axis=1), above.argmax(axis=1), NEVER)


def false_alarms(
    population: str, streams: int, values: int, run_length: float, seed: int
) -> FalseAlarms:
    """Return how many streams without drift alarm within so many values."""
    chance = np.random.default_rng(seed)
    made = POPULATIONS[population](chance, (streams, REFERENCE + values))
    alarms = first_alarm(statistics(p_values(made, seed + 1)), threshold(run_length, 1.0))
    count = int((alarms != NEVER).sum())
    return FalseAlarms(
        population,
        values,
        streams,
        count,
        min(1.0, values / run_length),
        fraction(count, streams),
    )


def delay(
    what: str,
    change: Change,
    *,
    population: str = "normal",
    before: int,
    within: int,
    streams: int,
    share: float,
    seed: int,
) -> Delay:
    """Return how soon a change is found; `change` makes the values after it of those without."""
    chance = np.random.default_rng(seed)
    made = POPULATIONS[population](chance, (streams, before + within))
    made[:, before:] = change(made[:, before:], chance)
    found = statistics(p_values(made, seed + 1))
    alarms = first_alarm(found, threshold(RUN_LENGTH, share))
    waits = alarms[(alarms == NEVER) | (alarms >= before)]
    waits = np.sort(np.where(waits == NEVER, np.iinfo(np.int64).max, waits - before + 1))
    return Delay(
        what,
        before,
        len(waits),
        fraction(int((waits <= within).sum()), len(waits)),
        within,
        _at(waits, 0.5, within),
        _at(waits, 0.9, within),
    )


def _at(waits: NDArray[np.int64], part: float, within: int) -> int:
    value = int(waits[min(len(waits) - 1, int(np.ceil(part * len(waits))) - 1)])
    return value if value <= within else NEVER


def delays(streams: int, before: int, within: int, seed: int) -> list[Delay]:
    """Return the delays of shifts, spreads and header changes of several sizes."""
    found = [
        delay(
            what,
            change,
            before=before,
            within=within,
            streams=streams,
            share=0.5,
            seed=seed,
        )
        for what, change in (
            *((f"score higher by {size:g} SD", _higher(size)) for size in SIZES),
            ("score spread doubled", _wider),
        )
    ]
    header = 0.5 / ATTRIBUTES
    for what, population, part in (
        ("header value changed", "one value", 1.0),
        ("header value changed in a third", "one value", 1 / 3),
        ("header value of three changed", "three values", 1.0),
    ):
        found.append(
            delay(
                what,
                _in_part(part),
                population=population,
                before=before,
                within=within,
                streams=streams,
                share=header,
                seed=seed,
            )
        )
    return found


def _higher(size: float) -> Change:
    return lambda values, _chance: values + size


def _wider(values: Values, _chance: np.random.Generator) -> Values:
    return values * 2.0


def _in_part(part: float) -> Change:
    return lambda values, chance: np.where(
        chance.random(values.shape) < part, 0.87 * values, values
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print as JSON, and draw."""
    parser = argparse.ArgumentParser(description="false alarms and delays of the drift test")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--values", type=int, default=1000)
    parser.add_argument("--within", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args(arguments)
    quiet = [
        false_alarms(name, given.streams, given.values, length, given.seed)
        for length in (RUN_LENGTH, 2.0 * given.values)
        for name in POPULATIONS
    ]
    late = [
        one
        for before in (REFERENCE + 40, REFERENCE + 340)
        for one in delays(max(100, given.streams // 4), before, given.within, given.seed)
    ]
    if given.picture is not None:
        draw(given.picture, late, given.seed)
    json.dump(
        {"false_alarms": [asdict(one) for one in quiet], "delays": [asdict(one) for one in late]},
        sys.stdout,
        indent=1,
    )


def draw(path: Path, late: Sequence[Delay], seed: int) -> None:
    """Draw what the statistic does on three streams, and delay against size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(10, 3.8), layout="constrained")
    FigureCanvasAgg(drawing)
    left, right = drawing.subplots(1, 2)
    for size, colour in ((0.0, "0.55"), (0.5, "tab:orange"), (1.0, "tab:red")):
        chance = np.random.default_rng(seed + 3)
        values = chance.normal(size=(1, 400))
        values[:, 200:] += size
        level = statistics(p_values(values, seed))[0]
        label = "no drift" if size == 0 else f"higher by {size:g} SD from 200 on"
        left.semilogy(np.maximum(level, 1e-2), color=colour, label=label)
    left.axhline(threshold(RUN_LENGTH, 0.5), color="black", linestyle="--", linewidth=1)
    left.text(2, threshold(RUN_LENGTH, 0.5) * 1.5, "alarm", fontsize=8)
    left.set_ylim(1e-1, 1e9)
    left.set_xlabel("series of one device and protocol")
    left.set_ylabel("Shiryaev-Roberts statistic")
    left.legend(loc="upper left", bbox_to_anchor=(0.0, 0.86), fontsize=8, frameon=False)
    for before in sorted({one.before for one in late}):
        shifts = [
            one for one in late if one.before == before and "higher" in one.what and one.median > 0
        ]
        sizes = [float(one.what.split()[3]) for one in shifts]
        right.plot(
            sizes, [one.median for one in shifts], "o-", label=f"change after {before} series"
        )
    right.set_yscale("log")
    right.set_yticks(ticks := [3, 5, 10, 20, 50, 100, 200], [str(one) for one in ticks])
    right.minorticks_off()
    right.set_xlabel("shift of the score, SD")
    right.set_ylabel("median series until the alarm")
    right.legend(fontsize=8, frameon=False)
    right.grid(visible=True, alpha=0.2)
    drawing.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
