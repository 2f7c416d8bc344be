"""Attribution of whole models: maps and checks in a page that says what is not to be read."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.lesions import SMALL, made

from models.attribution import drawing, lesions, looking, page, slices
from models.attribution.sanity import Verdict
from models.attribution.slices import explained
from models.attribution.token_bundles import Masked, SliceScore, opened, share
from models.detectors import two_stage
from models.detectors.two_stage_tokenizer import Tokenizer
from models.detectors.two_stage_transformer import TokenTransformer
from models.errors import ModelError
from models.grid import canonical
from models.lesion.network import Classifier, LesionNetwork
from models.lesion.training import Fitted
from models.prepare import Prepared
from models.registry import SHIPPED_BUNDLES, read_bundle
from models.scan import Scan
from models.training.loop import seeded
from models.volume import Volume

QUICK = lesions.Settings(window=8, stride=4, steps=8, draws=4, randomised=1, cascaded=1)
CONFIG = two_stage.Config(
    levels=2, rows=32, columns=32, patch=4, width=16, depth=1, heads=2, dropout=0.0,
    decoder=(16, 8, 8), decoder_blocks=1, codes=16, transformer_width=16, transformer_depth=1,
    transformer_heads=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def found() -> lesions.Explained:
    """Return patches of four patients, explained by a network that was not trained."""
    with seeded(0):
        fitted = Fitted(LesionNetwork(SMALL).eval(), Classifier(SMALL).eval(), SMALL)
    return lesions.explain(fitted, lesions.chosen(made(4), 1), QUICK)


def test_every_method_is_checked_and_only_the_control_is_struck_out(
    found: lesions.Explained,
) -> None:
    """One map a patch and method; the edge control fails its check whatever the network is."""
    assert tuple(one.name for one in found.methods) == lesions.METHODS
    assert len({one.patient for one in found.lesions}) == len(found.lesions) == 4
    by_name = {one.name: one for one in found.methods}
    assert by_name[lesions.EDGES].sanity.verdict is Verdict.IGNORES
    for one in found.methods:
        assert one.maps.shape == (4, 16, 16)
        assert one.place is not None
        assert one.place.patients == 4
        assert one.sanity.ranks.shape[0] == len(one.sanity.layers) == 11
    gap = by_name[lesions.INTEGRATED].gap
    assert gap is not None
    assert gap < 0.1


def test_the_page_says_what_a_map_does_not_mean(found: lesions.Explained) -> None:
    """The page holds picture, check, chance and warning; the figures are JSON without NaN."""
    text = page.lesion_page(found, {"model": "<m>"}, 1)
    assert "&lt;m&gt;" in text
    assert "not where disease is" in text
    assert str(Verdict.IGNORES) in text
    assert "area inside (chance)" in text
    figures = json.loads(page.lesion_json(found), parse_constant=pytest.fail)
    assert figures["methods"][lesions.EDGES]["sanity"]["rank"] == 1.0
    with Image.open(io.BytesIO(drawing.lesion_picture(found, 1))) as picture:
        assert picture.format == "PNG"
    with pytest.raises(ModelError, match="no patch"):
        fitted = Fitted(LesionNetwork(SMALL), Classifier(SMALL), SMALL)
        lesions.explain(fitted, (), QUICK)


def token_bundle() -> Masked:
    """Return a two-stage bundle that was not trained."""
    with seeded(0):
        tokenizer = Tokenizer(
            CONFIG.grid, CONFIG.patch, CONFIG.width, CONFIG.depth, CONFIG.heads, 0.0,
            CONFIG.decoder, CONFIG.decoder_blocks, CONFIG.codes,
        ).eval()  # fmt: skip
        tokenizer.codebooks.normal_()
        transformer = TokenTransformer(
            CONFIG.grid, CONFIG.levels, CONFIG.codes, CONFIG.transformer_width,
            CONFIG.transformer_depth, CONFIG.transformer_heads, 0.0, CONFIG.rotary_base,
        ).eval()  # fmt: skip
    layers = looking.masked_layers(transformer)
    return Masked(CONFIG, tokenizer, transformer, torch.ones(2, 2), layers, CONFIG.patch)


def scan() -> tuple[Scan, Prepared, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return a head of noise with a bright square in level 1, on the working grid."""
    array = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 32, 32)).astype(np.float32)
    lesion = np.zeros(array.shape, dtype=np.bool_)
    lesion[1, 8:16, 16:24] = True
    array[lesion] = 1.0
    brain = np.zeros(array.shape, dtype=np.bool_)
    brain[:, 2:30, 2:30] = True
    volume = Volume(array, np.diag([5.0, 1.0, 1.0, 1.0]), "MR", "BRAIN", "FLAIR")
    at = (np.arange(2.0), np.arange(32.0), np.arange(32.0))
    prepared = Prepared(
        np.where(brain, array, -1.0).astype(np.float32), brain, at, canonical(volume)
    )
    return Scan("one", "one", volume, np.zeros(2, np.bool_), lesion), prepared, lesion


def test_a_slice_is_explained_beside_its_controls() -> None:
    """The lesion's slice is chosen; roll-out, random network, surprise and occlusion are placed."""
    who, prepared, lesion = scan()
    settings = slices.Settings(which=slices.LESION, randomised=1)
    bundle = token_bundle()
    one = explained(bundle, who, prepared, lesion, settings, occluding=True)
    assert one is not None
    assert one.level == 1
    assert one.judged.sum() == round(0.05 * int((share(prepared.brain[1], 4) >= 0.25).sum()))
    assert set(one.places) == {slices.ROLLOUT, slices.RANDOM, slices.SURPRISE, slices.OCCLUSION}
    assert one.occluded is not None
    whole = slices.Explained((one,), {slices.ROLLOUT: one.looked_check}, {}, 0, "x", settings)
    with Image.open(io.BytesIO(drawing.slice_picture(whole, 1))) as picture:
        assert picture.format == "PNG"
    assert "multiples of even attention" in page.slice_page(whole, {}, 1)
    assert json.loads(page.slice_json(whole), parse_constant=pytest.fail)["scans"] == 1
    surprising = replace(settings, which=slices.SURPRISING)
    assert explained(bundle, who, prepared, lesion, surprising, occluding=False) is not None
    none = np.zeros_like(lesion)
    assert explained(bundle, who, prepared, none, settings, occluding=False) is None


def test_a_slices_score_is_that_of_its_most_surprising_tokens() -> None:
    """The mean of the largest twentieth of the brain's tokens."""
    bundle = token_bundle()
    _, prepared, _ = scan()
    image = torch.from_numpy(prepared.images[1])[None, None]
    covered = share(prepared.brain[1], 4) >= 0.25
    values = np.sort(bundle.surprise(image, 1)[0].numpy()[covered])
    score = SliceScore(bundle, 1, covered, 0.05)
    assert float(score(image)[0]) == pytest.approx(float(values[-3:].mean()), rel=1e-5)


def test_only_a_bundle_with_a_transformer_is_opened() -> None:
    """The two-stage bundle that ships opens; a bundle without one is refused by name."""
    assert isinstance(opened(read_bundle(SHIPPED_BUNDLES / "mr-brain-flair-two-stage")), Masked)
    with pytest.raises(ModelError, match="mr-brain-t1 has no transformer"):
        opened(read_bundle(SHIPPED_BUNDLES / "mr-brain-t1"))
    with pytest.raises(ModelError, match="the slice is one of"):
        slices.Settings(which="middle").check()
