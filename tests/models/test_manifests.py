"""Manifests: whatever a file holds, its reader is told what is wrong, and nothing else happens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import ModelError
from models.lesion import model as lesion
from models.manifests import LARGEST_MANIFEST_BYTES, MANIFEST, read_manifest
from models.multimodal import bundle as multimodal
from models.registry import read_bundle
from models.synthesis import model as synthesis

READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "detector": (read_bundle, MANIFEST),
    "lesion": (lesion.load, MANIFEST),
    "synthesis": (synthesis.load, MANIFEST),
    "multimodal": (multimodal.read, multimodal.MANIFEST),
}
WRONG = {
    "empty": b"",
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "without entries": b"{}",
    "deep": b"[" * 100_000,
    "large": b" " * (LARGEST_MANIFEST_BYTES + 1),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=list(WRONG))
@pytest.mark.parametrize(("read", "name"), READERS.values(), ids=list(READERS))
def test_what_is_no_manifest_is_refused_by_every_reader(
    tmp_path: Path, read: Callable[[Path], object], name: str, content: bytes
) -> None:
    """Each kind of bundle has entries of its own; none may fail in another way."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"not one|too large|not a "):
        read(tmp_path)


@pytest.mark.parametrize(("read", "name"), READERS.values(), ids=list(READERS))
def test_a_folder_without_a_manifest_is_refused(
    tmp_path: Path, read: Callable[[Path], object], name: str
) -> None:
    """It names the folder and no path."""
    assert not (tmp_path / name).exists()
    with pytest.raises(ModelError, match=f"{tmp_path.name}: the manifest cannot be read"):
        read(tmp_path)


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    """It is the identity of the model."""
    content = b'{ "name": "one" }\n'
    (tmp_path / MANIFEST).write_bytes(content)
    with read_manifest(tmp_path) as (manifest, digest):
        assert manifest == {"name": "one"}
    assert digest == hashlib.sha256(content).hexdigest()
