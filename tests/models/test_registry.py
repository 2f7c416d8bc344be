"""Bundles are listed without torch, matched by profile, refused when not as published."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import detector
from models.errors import ModelError, TamperedError
from models.registry import MANIFEST, SHARED_WEIGHTS, SHIPPED_BUNDLES, Registry, read_bundle
from models.tensors import read_tensors, take

WEIGHTS = "features.safetensors"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a copy of the shipped T1 bundle, free to be damaged."""
    return Path(shutil.copytree(SHIPPED_BUNDLES / "mr-brain-t1", tmp_path / "mr-brain-t1"))


def republish(bundle: Path, tensors: dict[str, Tensor]) -> None:
    """Write other weights into a bundle and their digest into its manifest."""
    import hashlib

    save_file(tensors, bundle / WEIGHTS)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["weights"][WEIGHTS] = hashlib.sha256((bundle / WEIGHTS).read_bytes()).hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def only(bundle: Path) -> Registry:
    """Return a registry of this bundle alone."""
    return Registry([bundle.parent], shipped=False)


def test_listing_bundles_imports_no_torch() -> None:
    """The command line may list, match and check models without loading torch."""
    program = (
        "import sys; from models.registry import Registry; import models.volume, models.finding;"
        "registry = Registry(); assert registry.match('MR', 'BRAIN', 'T1'); registry.problems();"
        "assert not {'torch', 'scipy', 'safetensors'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_shipped_bundles_are_as_published() -> None:
    """Every shipped file has the digest that its manifest names."""
    registry = Registry()

    assert registry.problems() == []
    assert {info.name for info in registry.bundles()} >= {"mr-brain-t1", "mr-brain-flair"}


def test_the_shipped_weights_are_small() -> None:
    """A bundle has at most 6 MB, all weights together at most 30 MB."""
    folders = list(SHIPPED_BUNDLES.iterdir()) + list(SHARED_WEIGHTS.iterdir())
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in folders]

    assert max(sizes) < 6e6
    assert sum(sizes) < 30e6


def test_every_shared_weight_has_its_licence_beside_it() -> None:
    """A card names source and licence, and the licence's text is shipped."""
    for folder in SHARED_WEIGHTS.iterdir():
        card = json.loads((folder / "card.json").read_text())
        assert card["licence"]
        assert card["source"]
        assert (folder / "LICENSE").read_text().strip()


@pytest.mark.parametrize(
    ("modality", "body_part", "sequence", "name"),
    [
        ("MR", "BRAIN", "T1", "mr-brain-t1"),
        ("MR", "head", "t1", "mr-brain-t1"),
        ("MR", "", "T1", "mr-brain-t1"),
        ("MR", "BRAIN", "FLAIR", "mr-brain-flair"),
        ("MR", "PELVIS", "T1", None),
        ("MR", "BRAIN", "T2", None),
        ("MR", "BRAIN", "", None),
        ("CT", "BRAIN", "T1", None),
    ],
)
def test_a_series_is_judged_only_by_a_bundle_for_its_kind(
    modality: str, body_part: str, sequence: str, name: str | None
) -> None:
    """Unknown or other kinds have no bundle: they are not assessed, never normal."""
    info = Registry().match(modality, body_part, sequence)

    assert (info.name if info else None) == name


def test_the_digest_of_the_set_is_that_of_its_manifests(bundle: Path) -> None:
    """A changed manifest changes the digest; an unchanged copy does not."""
    original = only(bundle).digest
    assert only(bundle).digest == original

    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["version"] += ".1"
    (bundle / MANIFEST).write_text(json.dumps(manifest))

    assert only(bundle).digest != original


def test_tampered_weights_are_reported_and_refused(bundle: Path) -> None:
    """One changed byte is found by the check, and the weights are not loaded."""
    content = bytearray((bundle / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(content)
    registry = only(bundle)

    assert any("not the published file" in problem for problem in registry.problems())
    with pytest.raises(TamperedError):
        detector.load(registry.bundles()[0])


def test_missing_weights_are_reported_and_refused(bundle: Path) -> None:
    """A bundle without its weights is a problem, not a crash."""
    (bundle / WEIGHTS).unlink()
    registry = only(bundle)

    assert any("cannot be read" in problem for problem in registry.problems())
    with pytest.raises(ModelError):
        detector.load(registry.bundles()[0])


def test_a_manifest_changed_after_listing_is_refused(bundle: Path) -> None:
    """What is loaded is what was listed: the job's model digest stays true."""
    (info,) = only(bundle).bundles()
    (bundle / MANIFEST).write_text((bundle / MANIFEST).read_text() + " ")

    with pytest.raises(ModelError, match="changed since"):
        detector.load(info)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "x"}', "\x00"])
def test_an_unreadable_manifest_is_a_problem_and_not_a_bundle(bundle: Path, content: str) -> None:
    """Anything that is not a manifest is named in the problems and matches nothing."""
    (bundle / MANIFEST).write_text(content)
    registry = only(bundle)

    assert registry.bundles() == []
    assert registry.match("MR", "BRAIN", "T1") is None
    assert len(registry.problems()) == 1


@pytest.mark.parametrize("name", ["../weights.safetensors", "/etc/passwd", "a/b", "..", ""])
def test_a_manifest_cannot_name_a_file_outside_its_folder(bundle: Path, name: str) -> None:
    """Weights are named without a folder."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["weights"][name] = "0" * 64
    (bundle / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(ModelError):
        read_bundle(bundle)


def test_weights_that_are_not_finite_are_refused(bundle: Path) -> None:
    """A NaN with a correct digest is still refused."""
    tensors = load_file(bundle / WEIGHTS)
    tensors["precision"][0, 0] = torch.nan
    republish(bundle, tensors)

    with pytest.raises(ModelError, match="not finite"):
        detector.load(only(bundle).bundles()[0])


def test_weights_of_another_shape_are_refused(bundle: Path) -> None:
    """A tensor cut short, or left out, is refused by its name."""
    tensors = load_file(bundle / WEIGHTS)
    republish(bundle, tensors | {"precision": tensors["precision"][1:].contiguous()})
    with pytest.raises(ModelError, match="precision has shape"):
        detector.load(only(bundle).bundles()[0])

    del tensors["precision"]
    republish(bundle, tensors)
    with pytest.raises(ModelError, match="precision is missing"):
        detector.load(only(bundle).bundles()[0])


def test_an_unknown_detector_or_setting_is_refused(bundle: Path) -> None:
    """A bundle of another version's detector says so."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | {"detector": "oracle"}))
    with pytest.raises(ModelError, match="not known"):
        detector.load(only(bundle).bundles()[0])

    preprocessing = manifest["preprocessing"] | {"sharpen": True}
    (bundle / MANIFEST).write_text(json.dumps(manifest | {"preprocessing": preprocessing}))
    with pytest.raises(ModelError, match="settings"):
        detector.load(only(bundle).bundles()[0])


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    """Other formats are not parsed, whatever their digest."""
    import hashlib

    path = tmp_path / WEIGHTS
    path.write_bytes(b"\x80\x04\x95pickle")

    with pytest.raises(ModelError, match="safetensors"):
        read_tensors(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_shape_is_checked_size_by_size() -> None:
    """None stands for any size; the number of axes must agree."""
    tensors = {"x": torch.zeros(3, 4)}

    assert take(tensors, "x", (None, 4)) is tensors["x"]
    with pytest.raises(ModelError):
        take(tensors, "x", (4, None))
    with pytest.raises(ModelError):
        take(tensors, "x", (3, 4, 1))
