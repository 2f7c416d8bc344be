"""Synthesis: a contrast is learned, drawn on the scan's own grid, marked, and written down."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.contrasts import SMALL, both, first_alone

from models.errors import ModelError, TamperedError
from models.scan import Synthetic
from models.sources import open_source
from models.stated import changed
from models.synthesis import command, floors
from models.synthesis.anomalies import NETWORK
from models.synthesis.assess import slabs
from models.synthesis.config import Config, as_mapping, from_mapping
from models.synthesis.model import WEIGHTS, SynthesisModel, brain_finder, load
from models.synthesis.network import stacked
from models.synthesis.pairs import pairs_of
from models.synthesis.training import slices_of
from models.training.loop import Run


def trained(out: Path, config: Config = SMALL) -> SynthesisModel:
    """Train on three bodies into a folder."""
    stated = {"set_name": "made-up bodies", "licence": "CC BY", "command": "typed"}
    return command.train([both(seed) for seed in range(3)], config, Run(), out, **stated)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SynthesisModel:
    """Return a model of the bodies."""
    return trained(tmp_path_factory.mktemp("models") / "t1-t2")


def test_what_no_voxel_tells_alone_is_drawn_and_a_lesion_stands_out(tmp_path: Path) -> None:
    """The core is seen by its place, which no floor knows; a lesion is brighter than drawn."""
    pytest.importorskip("matplotlib")
    scans = [both(seed, lesion=True) for seed in range(2)]
    config = replace(SMALL, steps=70)

    found = command.evaluate(
        scans, config, Run(), tmp_path / "out", command="typed", parts=2, gap_mm=0.0, resamples=20
    )

    best = min(one.error for name, one in found.overall.items() if name != NETWORK)
    assert found.overall[NETWORK].error < 0.7 * best
    assert found.inside[NETWORK][0] > 0.2 > abs(found.inside[NETWORK][1])
    assert found.anomalies[f"brighter than drawn: {NETWORK}"].ap.value > 0.5
    stated = json.loads((tmp_path / "out" / command.FIGURES).read_text())
    assert stated["subjects"] == 2
    assert (tmp_path / "out" / command.PICTURE).read_bytes()[:4] == b"\x89PNG"


def test_a_completed_scan_lies_on_its_own_grid_under_its_mark(model: SynthesisModel) -> None:
    """Same voxels, the other contrast, nothing outside the body, and who drew it."""
    source = first_alone(7)

    made = model.completed(source, brain_finder())

    assert made.volume.sequence == "T2"
    assert made.volume.array.shape == source.volume.array.shape
    assert np.array_equal(made.volume.affine, source.volume.affine)
    assert made.synthetic == Synthetic("T1", "t1-t2", model.digest)
    assert made.subject == source.subject
    inside = source.volume.array > 10
    assert made.volume.array[inside].mean() > 10 * made.volume.array[~inside].mean()


def test_what_is_there_is_not_completed_nor_a_synthetic_scan_again(model: SynthesisModel) -> None:
    """A scan that has the contrast, lacks the input or is synthetic is refused by name."""
    made = model.completed(first_alone(7), brain_finder())

    with pytest.raises(ModelError, match="nothing to complete"):
        model.completed(both(7), brain_finder())
    with pytest.raises(ModelError, match="is synthetic"):
        model.completed(made, brain_finder())
    lacking = first_alone(7)
    lacking = replace(lacking, volume=replace(lacking.volume, sequence="PD"))
    with pytest.raises(ModelError, match="has no T1"):
        model.completed(lacking, brain_finder())
    with pytest.raises(ModelError, match="is synthetic"):
        pairs_of([replace(both(1), synthetic=made.synthetic)], SMALL, brain_finder())


def test_a_model_comes_back_from_its_folder_as_it_was(
    model: SynthesisModel, tmp_path: Path
) -> None:
    """The same seed and data give the same bytes; other weights than the manifest's are refused."""
    short = replace(SMALL, steps=2)
    one, other = trained(tmp_path / "a" / "m", short), trained(tmp_path / "b" / "m", short)

    assert one.digest == other.digest
    assert load(tmp_path / "a" / "m").config == one.config
    assert (tmp_path / "a" / "m" / WEIGHTS).read_bytes() == (
        tmp_path / "b" / "m" / WEIGHTS
    ).read_bytes()
    assert model.manifest["data"]["licence"] == "CC BY"
    assert model.manifest["weights_licence"].startswith("CC BY")
    path = tmp_path / "b" / "m" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(TamperedError):
        load(tmp_path / "b" / "m")
    with pytest.raises(ModelError, match="exists"):
        trained(tmp_path / "a" / "m", short)


def test_a_completed_set_is_read_back_with_its_marks(model: SynthesisModel, tmp_path: Path) -> None:
    """Every scan of the folder says what drew it, in the table and in its file."""
    pytest.importorskip("matplotlib")
    nibabel = pytest.importorskip("nibabel")
    out = tmp_path / "set"

    def write(*seeds: int) -> tuple[int, dict[str, int]]:
        given = [first_alone(seed) for seed in seeds]
        return command.complete(model, given, out, set_name="bodies", set_licence="CC BY-NC")

    written, left_out = write(8, 9)

    assert (written, left_out) == (2, {})
    found = list(open_source(out).read(out, "all"))
    assert [scan.synthetic for scan in found] == [model.mark] * 2
    assert [scan.subject for scan in found] == ["patient-8", "patient-9"]
    assert {scan.volume.sequence for scan in found} == {"T2"}
    assert found[0].volume.spacing == pytest.approx(first_alone(8).volume.spacing)
    file = nibabel.load(out / "scan-8-synthetic.nii.gz")
    assert bytes(file.header["descrip"]).startswith(b"SYNTHETIC T2")
    with (out / "scans.csv").open(newline="") as table:
        assert all(row["synthetic"] == str(model.mark) for row in csv.DictReader(table))
    with pytest.raises(ModelError, match="exists"):
        write(8)


def test_a_mark_that_names_no_model_is_refused() -> None:
    """A mark is read as it is written, or not at all."""
    mark = Synthetic("T1+T2", "t1-flair", "a" * 64)

    assert Synthetic.parse(str(mark)) == mark
    with pytest.raises(ModelError, match="from CONTRAST by MODEL"):
        Synthetic.parse("yes")


def test_lesions_and_their_surroundings_are_not_learned_from() -> None:
    """No voxel within the margin of a lesion has a weight."""
    (pair,), config = pairs_of([both(0, lesion=True)], SMALL, brain_finder())

    slices = slices_of([pair], config)

    assert pair.lesion.any()
    assert not (pair.learned & pair.near_lesion).any()
    assert pair.near_lesion.sum() > 2 * pair.lesion.sum()
    assert slices.weight.sum() == pair.learned.sum()


def test_slabs_are_apart_by_the_gap_and_leave_no_slice_out() -> None:
    """Each slice is drawn once; the gap on either side is not learned from."""
    brain = np.zeros((22, 4, 4), np.bool_)
    brain[1:21] = True

    found = slabs(brain, 4, 2)

    assert np.sum([inside for inside, _ in found], axis=0)[1:21].tolist() == [1] * 20
    for inside, near in found:
        own = np.flatnonzero(inside)
        assert not (near[max(own[0] - 2, 0) : own[-1] + 3] == 0).any()
        assert near.sum() <= len(own) + 4
    with pytest.raises(ModelError, match="nothing to learn from"):
        slabs(brain, 2, 30)


def test_neighbouring_slices_are_the_channels() -> None:
    """Below, itself, above, input after input; the ends are repeated."""
    images = torch.arange(6.0).view(2, 3, 1, 1)

    channels = stacked(images, 1)[..., 0, 0]

    assert channels.tolist() == [[0, 0, 1, 3, 3, 4], [0, 1, 2, 3, 4, 5], [1, 2, 2, 4, 5, 5]]


def test_floors_know_what_their_names_say() -> None:
    """Inverted falls with the input, matched keeps its order, the mean fits any curve of it."""
    given = np.random.default_rng(0).uniform(0, 1, (1, 4000)).astype(np.float32)
    wanted = np.abs(given[0] - 0.5)

    found = {name: floor(given) for name, floor in floors.fitted(given, wanted).items()}

    order = np.argsort(given[0])
    assert (np.diff(found["inverted"][order]) <= 0).all()
    assert (np.diff(found["histogram matched"][order]) >= 0).all()
    assert np.abs(found["mean at each value"] - wanted).mean() < 0.01
    assert np.ptp(found["one value"]) == 0


def test_settings_are_those_of_the_manifest_or_refused() -> None:
    """What is unknown, of another kind or does not fit is named."""
    assert from_mapping(json.loads(json.dumps(as_mapping(SMALL)))) == SMALL
    with pytest.raises(ModelError, match="no setting 'widths'"):
        changed(SMALL, {"widths": 3}, "network")
    with pytest.raises(ModelError, match="'base' is like 4"):
        changed(SMALL, {"base": "six"}, "network")
    with pytest.raises(ModelError, match="multiples of 4"):
        changed(SMALL, {"rows": 30}, "network")
    with pytest.raises(ModelError, match="one or more others"):
        changed(SMALL, {"output": "T1"}, "network")
    with pytest.raises(ModelError, match="setting base is unknown or missing"):
        from_mapping({key: value for key, value in as_mapping(SMALL).items() if key != "base"})
