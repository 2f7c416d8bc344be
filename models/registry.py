"""Registry: which bundles there are, what each is for, and whether their files are as published.

A bundle is a folder with a `manifest.json` and its weights. The manifest names the SHA-256 of every
weight file, its own and the shared ones, so the SHA-256 of the manifest identifies the model as a
whole. Nothing here imports torch or opens a weight file except to hash it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from models.errors import ModelError

SHIPPED_BUNDLES = Path(__file__).parent / "bundles"
SHARED_WEIGHTS = Path(__file__).parent / "weights"
MANIFEST = "manifest.json"
LARGEST_MANIFEST_BYTES = 1 << 20
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Profile:
    """What a bundle may judge.

    Attributes:
        modality: DICOM Modality, for example ``MR``.
        body_part: normalised body part, and what else it is called.
        sequence: normalised contrast, and what else it is called; empty for any.
        body_part_from_content: whether a series that states no body part may be judged, because
            the detector itself refuses an image without that body part.
    """

    modality: str
    body_part: str
    body_part_aliases: tuple[str, ...]
    sequence: str
    sequence_aliases: tuple[str, ...]
    body_part_from_content: bool

    def matches(self, modality: str, body_part: str, sequence: str) -> bool:
        """Return whether a series so described may be judged. Case does not matter."""
        part = body_part.strip().upper()
        contrast = sequence.strip().upper()
        part_fits = (
            self.body_part_from_content
            if not part
            else part in (self.body_part, *self.body_part_aliases)
        )
        contrast_fits = not self.sequence or contrast in (self.sequence, *self.sequence_aliases)
        return modality.strip().upper() == self.modality and part_fits and contrast_fits


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """One bundle, read but not loaded.

    Attributes:
        name: folder and profile name, for example ``mr-brain-t1``.
        version: the bundle's own version.
        detector: which detector reads it, for example ``features``.
        profile: what it may judge.
        manifest: the whole manifest.
        digest: SHA-256 of the manifest's bytes, 64 lowercase hexadecimal digits.
        path: the bundle's folder.
    """

    name: str
    version: str
    detector: str
    profile: Profile
    manifest: Mapping[str, Any]
    digest: str
    path: Path

    def weight_files(self) -> dict[Path, str]:
        """Return each weight file with the SHA-256 it must have."""
        own = {self.path / name: sha for name, sha in self.manifest["weights"].items()}
        shared = {
            SHARED_WEIGHTS / name / "weights.safetensors": sha
            for name, sha in self.manifest["shared_weights"].items()
        }
        return own | shared


def read_bundle(folder: Path) -> BundleInfo:
    """Return the bundle in `folder`.

    Raises:
        ModelError: if there is no manifest, or it is not one.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > LARGEST_MANIFEST_BYTES:
            raise ModelError(f"bundle {folder.name}: the manifest is too large to be one")
        content = path.read_bytes()
        manifest = cast("dict[str, Any]", json.loads(content))
        _check_names(manifest)
        profile = manifest["profile"]
        return BundleInfo(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            detector=str(manifest["detector"]),
            profile=Profile(
                modality=str(profile["modality"]),
                body_part=str(profile["body_part"]),
                body_part_aliases=tuple(profile["body_part_aliases"]),
                sequence=str(profile["sequence"]),
                sequence_aliases=tuple(profile["sequence_aliases"]),
                body_part_from_content=bool(profile["body_part_from_content"]),
            ),
            manifest=manifest,
            digest=hashlib.sha256(content).hexdigest(),
            path=folder,
        )
    except OSError as error:
        raise ModelError(f"bundle {folder.name}: the manifest cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"bundle {folder.name}: the manifest is not one ({error!r})") from error


def _check_names(manifest: dict[str, Any]) -> None:
    """Refuse a manifest whose weights would be read from outside their folders."""
    for name in (*manifest["weights"], *manifest["shared_weights"]):
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise ValueError("a weight file must be named without a folder")


class Registry:
    """The bundles of some folders; where a name occurs twice, the later folder's is used.

    Args:
        directories: folders of bundle folders, searched after the shipped ones.
        shipped: whether the bundles inside the package are included.
    """

    def __init__(self, directories: Sequence[Path] = (), *, shipped: bool = True) -> None:
        self._bundles: dict[str, BundleInfo] = {}
        self._unreadable: list[str] = []
        for directory in ([SHIPPED_BUNDLES] if shipped else []) + list(directories):
            if not directory.is_dir():
                self._unreadable.append(f"bundle folder {directory} does not exist")
                continue
            for folder in sorted(directory.iterdir()):
                if folder.is_dir() and not folder.name.startswith((".", "_")):
                    self._read(folder)

    def _read(self, folder: Path) -> None:
        try:
            info = read_bundle(folder)
        except ModelError as error:
            self._unreadable.append(str(error))
        else:
            self._bundles[info.name] = info

    def bundles(self) -> list[BundleInfo]:
        """Return every readable bundle, by name."""
        return [self._bundles[name] for name in sorted(self._bundles)]

    @property
    def digest(self) -> str:
        """SHA-256 of the active set: the same bundles give the same digest, in any order."""
        lines = "".join(f"{info.name} {info.digest}\n" for info in self.bundles())
        return hashlib.sha256(lines.encode()).hexdigest()

    def match(self, modality: str, body_part: str, sequence: str) -> BundleInfo | None:
        """Return the bundle that may judge such a series, or None: then it is not assessed."""
        for info in self.bundles():
            if info.profile.matches(modality, body_part, sequence):
                return info
        return None

    def problems(self) -> list[str]:
        """Return what is wrong with the bundles, in sentences; empty when all is as published."""
        found = list(self._unreadable)
        for info in self.bundles():
            for path, expected in info.weight_files().items():
                try:
                    actual = _sha256(path)
                except OSError:
                    found.append(f"bundle {info.name}: {path.name} cannot be read")
                    continue
                if actual != expected:
                    found.append(f"bundle {info.name}: {path.name} is not the published file")
        return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
