"""What asking rules costs: microseconds of processor time a study, with and without the reasons.

The rules and the headers of the studies are made from a seed: rules ask about attributes of study
and series, content, source and time, in groups; studies have one to twelve series of mixed
modalities, and one attribute in ten is missing. Each study is asked on receipt and once judged, one
in ten with reasons as well. What is measured is the decision, not the reading of headers; with
`--read` that is measured too, on a series of so many files. Runs of each way take turns.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from support.objects import mr_slice
from support.rules import typed

from gatekeeper.rules.document import parse_rule
from gatekeeper.rules.evaluate import on_receipt, when_judged
from gatekeeper.rules.facts import Judged, SeriesFacts, StudyFacts
from gatekeeper.rules.fields import SERIES_KINDS, VERDICTS, WEEKDAYS
from gatekeeper.rules.read import File, facts_of
from gatekeeper.rules.rule import Rule, needed

MODALITIES = ("MR", "CT", "PT", "CR", "US", "SR")
PARTS = ("BRAIN", "PELVIS", "CHEST", "KNEE", "SPINE")
WORDS = ("t1", "t2", "flair", "dwi", "trauma", "head", "axial", "contrast", "survey", "stroke")


def a_test(chance: random.Random) -> str:
    """Return a test as sites write them."""
    word = chance.choice(WORDS)
    return chance.choice(
        [
            f"Modality is {chance.choice(MODALITIES)}",
            f"Modality one of {', '.join(chance.sample(MODALITIES, 3))}",
            f"SeriesDescription contains {word}",
            f"SeriesDescription like *{word}*",
            f"StudyDescription starts with {word}",
            f"ProtocolName is not {word}",
            f"BodyPartExamined is {chance.choice(PARTS)}",
            f"SliceThickness <= {chance.randint(1, 8)}",
            f"MagneticFieldStrength between 1 and {chance.randint(2, 7)}",
            f"PatientAge < {chance.randint(1, 90)}Y",
            f"StudyDate >= 20{chance.randint(10, 26)}-01-01",
            "every ImageType is not DERIVED",
            "ContrastBolusAgent present",
            f"series.kind is {chance.choice(SERIES_KINDS)}",
            f"series.images > {chance.randint(1, 200)}",
            f"series.body_part is {chance.choice(PARTS)}",
            f"source is CT{chance.randint(1, 9)}",
            f"time between {chance.randint(10, 23)}:00 and 06:00",
            f"weekday one of {', '.join(chance.sample(WEEKDAYS, 2))}",
        ]
    )


def a_rule(chance: random.Random, number: int) -> Rule:
    """Return a rule of two to six tests, half of them in a group; one in five about the verdict."""
    when: list[Any] = [a_test(chance) for _ in range(chance.randint(1, 3))]
    key = chance.choice(("any", "all", "none", "not all"))
    when.append({key: [a_test(chance) for _ in range(chance.randint(1, 3))]})
    then: list[dict[str, Any]] = [{"forward": f"NODE{number % 7}"}]
    if number % 5 == 0:
        when.insert(0, chance.choice(["verdict is SUSPECT", "p_value < 0.05"]))
        then = [{"hold": "*", "hours": 4}, {"notify": "ward"}]
    elif number % 3 == 0:
        then.append({"priority": "urgent"})
    return parse_rule({"name": f"rule {number}", "when": when, "then": then})


def a_study(chance: random.Random, number: int) -> StudyFacts:
    """Return the facts of a study as its headers would give them."""
    study = {
        "source": f"CT{chance.randint(1, 9)}",
        "time": f"{chance.randint(0, 23):02}{chance.randint(0, 59):02}",
        "weekday": chance.choice(WEEKDAYS),
        "StudyDescription": " ".join(chance.sample(WORDS, 2)),
        "PatientAge": f"{chance.randint(0, 99):03}Y",
        "StudyDate": f"20{chance.randint(10, 26)}{chance.randint(1, 12):02}15",
    }
    series = tuple(
        SeriesFacts(f"1.{number}.{one}", _some(chance, _series(chance)))
        for one in range(chance.randint(1, 12))
    )
    return StudyFacts(f"1.{number}", _some(chance, study), series)


def _series(chance: random.Random) -> dict[str, Any]:
    return {
        "Modality": chance.choice(MODALITIES),
        "SeriesDescription": " ".join(chance.sample(WORDS, 3)),
        "ProtocolName": " ".join(chance.sample(WORDS, 2)),
        "BodyPartExamined": chance.choice(PARTS),
        "SliceThickness": f"{chance.uniform(0.5, 9):.2f}",
        "MagneticFieldStrength": chance.choice(("1.5", "3", "7")),
        "ImageType": chance.choice((["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY", "MIP"])),
        "ContrastBolusAgent": chance.choice(("", "Gd")),
        "series.kind": chance.choice(SERIES_KINDS),
        "series.images": str(chance.randint(1, 300)),
        "series.body_part": chance.choice(PARTS),
    }


def _some(chance: random.Random, given: dict[str, Any]) -> Any:
    return typed({name: value for name, value in given.items() if chance.random() > 0.1})


def microseconds(ask: Callable[[StudyFacts], object], studies: Sequence[StudyFacts]) -> list[float]:
    """Return what each study took."""
    found: list[float] = []
    for study in studies:
        began = time.thread_time_ns()
        ask(study)
        found.append((time.thread_time_ns() - began) / 1000)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench rules", description=__doc__)
    parser.add_argument("--rules", type=int, default=50)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many is printed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--read", type=int, default=0, help="files whose headers are read as well")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    chance = random.Random(wanted.seed)
    rules = [a_rule(chance, number) for number in range(wanted.rules)]
    studies = [a_study(chance, number) for number in range(wanted.studies)]
    judged = [
        Judged(chance.choice(VERDICTS), chance.random(), ("gate",), device_calibrated=True)
        for _ in studies
    ]
    verdicts = {study.study_instance_uid: one for study, one in zip(studies, judged, strict=True)}
    ways: dict[str, Callable[[StudyFacts], object]] = {
        "on receipt": lambda facts: on_receipt(rules, facts),
        "on receipt, with reasons": lambda facts: on_receipt(rules, facts, trace=True),
        "once judged": lambda facts: when_judged(rules, facts, verdicts[facts.study_instance_uid]),
        "once judged, with reasons": lambda facts: when_judged(
            rules, facts, verdicts[facts.study_instance_uid], trace=True
        ),
    }
    # What is measured makes no cycles; a collection in the middle is that of the studies.
    gc.freeze()
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(wanted.rounds):
        for name, ask in ways.items():
            asked = studies[::10] if name.endswith("reasons") else studies
            taken[name].append(microseconds(ask, asked))
    figures = {
        name: {
            "median": statistics.median(statistics.median(one) for one in runs),
            "95 %": statistics.median(statistics.quantiles(one, n=20)[-1] for one in runs),
        }
        for name, runs in taken.items()
    }
    if wanted.read:
        figures[f"reading one series of {wanted.read} files"] = _reading(wanted.read, rules)
    series = statistics.fmean(len(study.series) for study in studies)
    shown = {"rules": len(rules), "studies": len(studies), "series a study": round(series, 2)}
    if wanted.json:
        print(json.dumps({**shown, "microseconds": figures}, indent=2))  # noqa: T201
        return
    table = Table(title=", ".join(f"{value} {name}" for name, value in shown.items()))
    table.add_column("microseconds a study")
    table.add_column("median", justify="right")
    table.add_column("95 %", justify="right")
    for name, one in figures.items():
        table.add_row(name, f"{one['median']:.0f}", f"{one['95 %']:.0f}")
    Console().print(table)


def _reading(count: int, rules: Sequence[Rule]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        files: list[File] = []
        for number in range(1, count + 1):
            one = mr_slice(number)
            one.ImagePositionPatient = [0, 0, number]
            one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            one.PixelSpacing = [1, 1]
            path = Path(folder) / str(number)
            one.save_as(path, enforce_file_format=True)
            files.append(File("1.1", str(one.SOPInstanceUID), str(one.SOPClassUID), "MR", path))
        names = needed(rules)
        found: list[float] = []
        for _ in range(20):
            began = time.thread_time_ns()
            facts = facts_of("1", "CT1", files, 0.0, names)
            found.append((time.thread_time_ns() - began) / 1000)
            assert facts.values["instances"] == (Decimal(count),)
    return {"median": statistics.median(found), "95 %": statistics.quantiles(found, n=20)[-1]}


if __name__ == "__main__":
    main()
