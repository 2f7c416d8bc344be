"""Manifests as they are read: bounded in size, and whatever is wrong with one is a ModelError.

A manifest is the `manifest.json` in the folder of a bundle. It names the SHA-256 of every weight
file, so its own SHA-256 identifies the model as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from models.errors import ModelError

MANIFEST = "manifest.json"
LARGEST_MANIFEST_BYTES = 1 << 20


@contextmanager
def read_manifest(folder: Path, name: str = MANIFEST) -> Generator[tuple[dict[str, Any], str]]:
    """Yield the manifest in `folder` and the SHA-256 of its bytes, to be taken apart inside.

    Args:
        folder: of the bundle.
        name: of the manifest.

    Raises:
        ModelError: if there is none, or, raised inside while taking it apart, it is not one.
    """
    path = folder / name
    try:
        if path.stat().st_size > LARGEST_MANIFEST_BYTES:
            raise ModelError(f"bundle {folder.name}: the manifest is too large to be one")
        content = path.read_bytes()
        yield cast("dict[str, Any]", json.loads(content)), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise ModelError(f"bundle {folder.name}: the manifest cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"bundle {folder.name}: the manifest is not one ({error!r})") from error
