"""Bundles are listed without torch, matched by profile, refused when not as published."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.small_bundle import PROFILE, small_bundle
from torch import Tensor

from models import detector
from models.activation import NOBODY, ProfileKey
from models.errors import ModelError, TamperedError
from models.manifests import MANIFEST
from models.registry import SHARED_WEIGHTS, SHIPPED_BUNDLES, Registry, read_bundle
from models.tensors import read_tensors, take

WEIGHTS = "intensity.safetensors"
NAME = "mr-pelvis-t2-intensity"
PELVIS = ("MR", "PELVIS", "T2")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small fitted bundle."""
    return small_bundle(tmp_path_factory.mktemp("fitted")).path


@pytest.fixture
def bundle(fitted: Path, tmp_path: Path) -> Path:
    """Return a copy of a small bundle, its profile's default, free to be damaged."""
    folder = Path(shutil.copytree(fitted, tmp_path / NAME))
    state(folder, default=True)
    return folder


def state(bundle: Path, **statements: Any) -> None:
    """Change what a bundle's manifest states."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | statements))


def another(bundle: Path, name: str, **statements: Any) -> Path:
    """Put a copy of a bundle beside it, under another name."""
    folder = Path(shutil.copytree(bundle, bundle.parent / name))
    state(folder, name=name, **statements)
    return folder


def choosing(bundle: Path, **chosen: str) -> Registry:
    """Return a registry under a choice: profiles with ``_`` for ``/``, with a bundle's name."""
    choice = {ProfileKey.parse(key.replace("_", "/")): name for key, name in chosen.items()}
    return Registry([bundle.parent], choice, shipped=False)


def republish(bundle: Path, tensors: dict[str, Tensor]) -> None:
    """Write other weights into a bundle and their digest into its manifest."""
    save_file(tensors, bundle / WEIGHTS)
    state(bundle, weights={WEIGHTS: hashlib.sha256((bundle / WEIGHTS).read_bytes()).hexdigest()})


def only(bundle: Path) -> Registry:
    """Return a registry of this bundle's folder alone."""
    return Registry([bundle.parent], shipped=False)


def answer(registry: Registry, modality: str, body_part: str, sequence: str) -> str | None:
    """Return the name of the bundle that answers for a series."""
    info = registry.match(modality, body_part, sequence)
    return info.name if info else None


def test_listing_bundles_imports_no_torch(bundle: Path) -> None:
    """The command line may list, match and check models without loading torch."""
    program = (
        "import sys; from pathlib import Path; from models.registry import Registry;"
        "import models.volume, models.finding; registry = Registry([Path(sys.argv[1])]);"
        "assert registry.match('MR', 'PELVIS', 'T2'); registry.problems();"
        "assert not {'torch', 'scipy', 'safetensors'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program, str(bundle.parent)], check=True, timeout=60)


def test_the_shipped_bundles_are_as_published() -> None:
    """Every shipped file has the digest that its manifest names, and one default a profile."""
    registry = Registry()

    assert registry.problems() == []
    assert registry.bundles()


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
    ("modality", "body_part", "sequence", "expected"),
    [
        ("MR", "BRAIN", "T1", "T1"),
        ("MR", "head", "t1", "T1"),
        ("MR", "", "T1", "T1"),
        ("MR", "BRAIN", "FLAIR", "FLAIR"),
        ("MR", "PELVIS", "T1", None),
        ("MR", "BRAIN", "T2", None),
        ("MR", "BRAIN", "", None),
        ("CT", "BRAIN", "T1", None),
    ],
)
def test_a_series_is_judged_only_by_a_bundle_for_its_kind(
    modality: str, body_part: str, sequence: str, expected: str | None
) -> None:
    """Unknown or other kinds have no bundle: they are not assessed, never normal."""
    info = Registry().match(modality, body_part, sequence)

    assert (info.profile.sequence if info else None) == expected


def test_a_bundle_that_nobody_chose_answers_for_nothing(bundle: Path) -> None:
    """Fitting a series is not enough: a bundle is the default, or activated, or silent."""
    state(bundle, default=False)

    assert answer(only(bundle), *PELVIS) is None


def test_the_activated_bundle_answers_in_place_of_the_default(bundle: Path) -> None:
    """Of two that fit, the chosen one; the default again when the choice is taken back."""
    another(bundle, "chosen", default=False)
    assert answer(only(bundle), *PELVIS) == NAME

    registry = choosing(bundle, MR_PELVIS_T2="chosen")
    assert answer(registry, *PELVIS) == "chosen"
    assert answer(registry, "MR", "prostate", "t2w") == "chosen"

    assert answer(choosing(bundle), *PELVIS) == NAME


def test_a_bundle_for_any_sequence_leaves_other_profiles_alone(bundle: Path) -> None:
    """Activated for one sequence, it answers for that one; the default of another stays."""
    anything = PROFILE["profile"] | {"sequence": "", "sequence_aliases": []}
    another(bundle, "anything", default=False, profile=anything)

    registry = choosing(bundle, MR_PELVIS_T1="anything")
    assert answer(registry, "MR", "PELVIS", "T1") == "anything"
    assert answer(registry, *PELVIS) == NAME

    registry = choosing(bundle, MR_PELVIS_="anything")
    assert answer(registry, "MR", "PELVIS", "DWI") == "anything"
    assert answer(registry, *PELVIS) == NAME


@pytest.mark.parametrize("chosen", [NOBODY, "removed"])
def test_nobody_answers_where_nobody_or_a_missing_bundle_is_chosen(
    bundle: Path, chosen: str
) -> None:
    """The default does not slip in for a bundle that a site chose and lost; that is a problem."""
    registry = choosing(bundle, MR_PELVIS_T2=chosen)

    assert answer(registry, *PELVIS) is None
    assert [("removed" in problem) for problem in registry.problems()] == [True] * bool(chosen)


def test_a_choice_that_cannot_be_known_silences_every_bundle(bundle: Path) -> None:
    """What the site chose is not known then; a problem says so."""
    registry = Registry([bundle.parent], None, shipped=False)

    assert answer(registry, *PELVIS) is None
    assert any("no bundle answers" in problem for problem in registry.problems())


def test_two_defaults_of_one_profile_are_a_problem(bundle: Path) -> None:
    """The first one answers, and the check names the other."""
    another(bundle, "second-default")
    registry = only(bundle)

    assert answer(registry, *PELVIS) == NAME
    assert any("second-default" in problem for problem in registry.problems())


def test_the_digest_of_the_set_is_that_of_what_can_answer(bundle: Path) -> None:
    """A changed or other answering bundle changes the digest; one that cannot answer does not."""
    original = only(bundle).digest
    other = another(bundle, "other", default=False)
    assert only(bundle).digest == original

    chosen = choosing(bundle, MR_PELVIS_T2="other").digest
    assert chosen != original
    state(bundle, version="9")
    assert choosing(bundle, MR_PELVIS_T2="other").digest == chosen
    state(other, version="9")
    assert choosing(bundle, MR_PELVIS_T2="other").digest != chosen


@pytest.mark.parametrize(
    ("licence", "restricted"),
    [
        ("Apache-2.0", False),
        ("CC BY 4.0", False),
        ("CC BY-NC (from the data); research only", True),
        ("non-commercial research (from the data)", True),
    ],
)
def test_a_licence_that_excludes_commercial_use_is_known(
    bundle: Path, licence: str, restricted: bool
) -> None:
    """By its words, in the manifest's `weights_licence`."""
    state(bundle, weights_licence=licence)

    assert read_bundle(bundle).non_commercial is restricted


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


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"name": "x"}', "\x00", "[" * 100_000, '{"weights": []}']
)
def test_an_unreadable_manifest_is_a_problem_and_not_a_bundle(bundle: Path, content: str) -> None:
    """Anything that is not a manifest is named in the problems and matches nothing."""
    (bundle / MANIFEST).write_text(content)
    registry = only(bundle)

    assert registry.bundles() == []
    assert registry.match(*PELVIS) is None
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
    tensors["mean"][0] = torch.nan
    republish(bundle, tensors)

    with pytest.raises(ModelError, match="not finite"):
        detector.load(only(bundle).bundles()[0])


def test_weights_of_another_shape_are_refused(bundle: Path) -> None:
    """A tensor cut short, or left out, is refused by its name."""
    tensors = load_file(bundle / WEIGHTS)
    republish(bundle, tensors | {"mean": tensors["mean"][1:].contiguous()})
    with pytest.raises(ModelError, match="mean has shape"):
        detector.load(only(bundle).bundles()[0])

    del tensors["mean"]
    republish(bundle, tensors)
    with pytest.raises(ModelError, match="mean is missing"):
        detector.load(only(bundle).bundles()[0])


def test_an_unknown_detector_or_setting_is_refused(bundle: Path) -> None:
    """A bundle of another version's detector says so."""
    (member,) = read_bundle(bundle).manifest["members"]
    state(bundle, members=[member | {"detector": "oracle"}])
    with pytest.raises(ModelError, match="not known"):
        detector.load(only(bundle).bundles()[0])

    state(bundle, members=[member | {"settings": member["settings"] | {"sharpen": True}}])
    with pytest.raises(ModelError, match="settings"):
        detector.load(only(bundle).bundles()[0])


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    """Other formats are not parsed, whatever their digest."""
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
