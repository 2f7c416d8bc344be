"""`torchrun -m gatekeeper model train`: several processes make one bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
from support.small_bundle import PROFILE, SPACING, body

from models.detector import load
from models.registry import read_bundle

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    """The first writes a bundle that loads, and both leave without a complaint."""
    data = tmp_path / "data"
    data.mkdir()
    affine = np.diag([-SPACING, -SPACING, SPACING, 1.0])
    lines = ["file,split,modality,body_part,sequence"]
    for number in range(3):
        image = nibabel.Nifti1Image(body(number).transpose(2, 1, 0), affine)
        image.set_sform(affine, code=1)
        image.to_filename(data / f"{number}.nii")
        lines.append(f"{number}.nii,train,MR,PELVIS,T2")
    (data / "scans.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "pelvis.json").write_text(json.dumps(PROFILE))

    words = "torch.distributed.run --standalone --nproc-per-node 2 -m gatekeeper model train"
    options = "--profile pelvis.json --data data --out out --checkpoints kept --steps-scale 0.0001"
    done = subprocess.run(
        [sys.executable, "-m", *words.split(), "autoencoder", *options.split()],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Wrote") == 1
    load(read_bundle(tmp_path / "out" / "mr-pelvis-t2-autoencoder"))
    kept = {path.name.split(".")[-2] for path in (tmp_path / "kept").rglob("*.safetensors")}
    assert kept == {"0", "1"}
