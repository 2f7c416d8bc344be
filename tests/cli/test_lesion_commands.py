"""`gatekeeper model lesion`: a model trained on slices, its pictures, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command_line import run

from models.lesion import model


def _set(folder: Path) -> Path:
    """Write slices of four benign and four malignant patients: small and large balls in a lung."""
    (folder / "img").mkdir(parents=True)
    rows, columns = np.ogrid[:96, :128]
    lines = ["file,class,split,pseudo_patient"]
    for number in range(8):
        image = np.full((96, 128), 43, dtype=np.uint8)
        image[((rows - 48) / 42) ** 2 + ((columns - 64) / 60) ** 2 <= 1] = 220
        for middle in (38, 90):
            image[((rows - 48) / 30) ** 2 + ((columns - middle) / 20) ** 2 <= 1] = 68
        image[np.hypot(rows - 48, columns - 38) <= (8 if number % 2 else 3)] = 220
        name = f"{number}.png"
        Image.fromarray(image).save(folder / "img" / name)
        lines.append(f"{name},{'malignant' if number % 2 else 'benign'},dev,{number}")
    (folder / "slices.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_trained_model_can_be_loaded_and_drawn(tmp_path: Path) -> None:
    """Train writes a model that loads; traverse its strip and animation, attribution its maps."""
    data = _set(tmp_path / "set")
    small = ("--set", "base=2", "--set", "size=16", "--set", "latent=4")
    small += ("--set", "classifier_steps=10")
    out, drawn = str(tmp_path / "made"), str(tmp_path / "drawn")
    told = run(
        "model", "lesion", "train", "--data", str(data), "--out", out, "--folds", "2",
        "--steps-scale", "0.01", *small,
    )  # fmt: skip
    assert "4 benign and 4 malignant patients" in told
    made = model.load(tmp_path / "made")
    assert made.config.kind == "dirichlet"
    assert 0 < made.predict(np.full((1, 16, 16), -850.0, dtype=np.float32)).probability < 1
    run("model", "lesion", "traverse", out, "--data", str(data), "--out", drawn)
    assert {path.suffix for path in (tmp_path / "drawn").iterdir()} == {".png", ".gif"}
    maps = tmp_path / "maps"
    told = run(
        "model", "attribution", "lesion", out, "--data", str(data), "--out", str(maps),
        "--window", "8", "--stride", "8", "--randomised", "1", "--pictures", "1",
    )  # fmt: skip
    assert "occlusion by lung: rank correlation" in told
    assert {path.suffix for path in maps.iterdir()} == {".html", ".png", ".json"}


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("--set", "size=20"), "multiple of 8"),
        (("--kind", "laplace"), "kind is one of"),
        ((), "need 5 patients"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], rule: str
) -> None:
    """Settings that do not fit, and too few patients for the folds."""
    data = _set(tmp_path / "set")
    out = str(tmp_path / "made")
    told = run("model", "lesion", "train", "--data", str(data), "--out", out, *arguments, code=1)
    assert rule in " ".join(told.split())


def test_where_no_transformer_looked_nothing_is_drawn(tmp_path: Path) -> None:
    """Attribution of a scan needs a bundle with a transformer."""
    told = run(
        "model", "attribution", "scan", "mr-brain-t1", "--data", str(tmp_path),
        "--out", str(tmp_path / "out"), code=1,
    )  # fmt: skip
    assert "has no transformer" in " ".join(told.split())
    assert not (tmp_path / "out").exists()
