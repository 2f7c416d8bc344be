"""Registry: which bundles there are, which one answers for a series, and whether all is intact.

A bundle is a folder with a `manifest.json` and its weights. The manifest names the SHA-256 of every
weight file, its own and the shared ones, so the SHA-256 of the manifest identifies the model as a
whole. Several bundles may fit a series; the one that the site activated for its profile answers,
else the one that calls itself the default, else none. Nothing here imports torch or opens a weight
file except to hash it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.activation import NOBODY, ProfileKey
from models.errors import ModelError
from models.manifests import read_manifest

SHIPPED_BUNDLES = Path(__file__).parent / "bundles"
SHARED_WEIGHTS = Path(__file__).parent / "weights"
_READ_BYTES = 1 << 20
_NOTHING_CHOSEN: Mapping[ProfileKey, str] = {}
_NON_COMMERCIAL = re.compile(r"non-?\s?commercial|\bNC\b|research only", re.IGNORECASE)


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

    @property
    def key(self) -> ProfileKey:
        """The profile's name in `models.activation`."""
        return ProfileKey(self.modality, self.body_part, self.sequence)

    def narrowed(self, key: ProfileKey) -> Profile | None:
        """Return the part of this profile that `key` names; None where it names none."""
        if not self.matches(key.modality, key.body_part, key.sequence):
            return None
        same_part = key.body_part == self.body_part
        same_sequence = key.sequence == self.sequence
        return replace(
            self,
            body_part=key.body_part,
            body_part_aliases=self.body_part_aliases if same_part else (),
            body_part_from_content=self.body_part_from_content and same_part,
            sequence=key.sequence,
            sequence_aliases=self.sequence_aliases if same_sequence else (),
        )


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """One bundle, read but not loaded.

    Attributes:
        name: of the bundle and its folder, for example ``mr-brain-t1-gate``.
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

    @property
    def default(self) -> bool:
        """Whether it answers for its profile where the site chose nothing."""
        return self.manifest.get("default") is True

    @property
    def weights_licence(self) -> str:
        """Under what the weights may be used, as the manifest says."""
        return str(self.manifest.get("weights_licence", "not stated"))

    @property
    def non_commercial(self) -> bool:
        """Whether the weights' licence excludes commercial use."""
        return bool(_NON_COMMERCIAL.search(self.weights_licence))

    @property
    def calibration_size(self) -> int:
        """Number of subjects of the bundle's own calibration; 0 where the manifest has none."""
        try:
            return int(self.manifest["calibration"]["n"])
        except (KeyError, TypeError, ValueError):
            return 0

    @property
    def smallest_p_value(self) -> float:
        """The smallest p-value that so many subjects allow."""
        return 1 / (self.calibration_size + 1)


def read_bundle(folder: Path) -> BundleInfo:
    """Return the bundle in `folder`.

    Raises:
        ModelError: if there is no manifest, or it is not one.
    """
    with read_manifest(folder) as (manifest, digest):
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
            digest=digest,
            path=folder,
        )


def _check_names(manifest: dict[str, Any]) -> None:
    """Refuse a manifest whose weights would be read from outside their folders."""
    if not isinstance(manifest["weights"], dict) or not isinstance(
        manifest["shared_weights"], dict
    ):
        raise TypeError("weights must be named with their digests")
    for name in (*manifest["weights"], *manifest["shared_weights"]):
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise ValueError("a weight file must be named without a folder")


@dataclass(frozen=True, slots=True)
class Answering:
    """A bundle that answers for a profile.

    Attributes:
        profile: which series it judges: the whole or a part of the bundle's own profile.
        info: the bundle.
        activated: whether the site chose it; otherwise it is the default.
    """

    profile: Profile
    info: BundleInfo
    activated: bool


class Registry:
    """The bundles of some folders; where a name occurs twice, the later folder's is used.

    Args:
        directories: folders of bundle folders, searched after the shipped ones.
        choice: name of the bundle that the site chose for a profile, `NOBODY` where none is to
            answer. None when the choice cannot be known: then no bundle answers.
        shipped: whether the bundles inside the package are included.
    """

    def __init__(
        self,
        directories: Sequence[Path] = (),
        choice: Mapping[ProfileKey, str] | None = _NOTHING_CHOSEN,
        *,
        shipped: bool = True,
    ) -> None:
        self._bundles: dict[str, BundleInfo] = {}
        self._unreadable: list[str] = []
        self._choice = choice
        if choice is None:
            self._unreadable.append("no bundle answers: the site's choice cannot be read")
        for directory in ([SHIPPED_BUNDLES] if shipped else []) + list(directories):
            if not directory.is_dir():
                self._unreadable.append(f"bundle folder {directory} does not exist")
                continue
            for folder in sorted(directory.iterdir()):
                if folder.is_dir() and not folder.name.startswith((".", "_")):
                    self._read(folder)
        self._answering = self._matched()

    def _read(self, folder: Path) -> None:
        try:
            info = read_bundle(folder)
        except ModelError as error:
            self._unreadable.append(str(error))
        else:
            self._bundles[info.name] = info

    def _matched(self) -> tuple[Answering, ...]:
        """Return who answers: the activated bundles, then the defaults of all other profiles."""
        if self._choice is None:
            return ()
        found: list[Answering] = []
        for key in self._choice:
            info = self._bundles.get(self._choice[key])
            profile = None if info is None else info.profile.narrowed(key)
            if info is not None and profile is not None:
                found.append(Answering(profile, info, activated=True))
        taken = set(self._choice)
        # In the order of the folders: a default of the site does not displace a shipped one.
        for info in self._bundles.values():
            if info.default and info.profile.key not in taken:
                taken.add(info.profile.key)
                found.append(Answering(info.profile, info, activated=False))
        # A profile of one sequence goes before one of any sequence.
        found.sort(key=lambda one: (not one.profile.sequence, str(one.profile.key)))
        return tuple(found)

    def bundles(self) -> list[BundleInfo]:
        """Return every readable bundle, by name."""
        return [self._bundles[name] for name in sorted(self._bundles)]

    def get(self, name: str) -> BundleInfo:
        """Return the bundle of this name.

        Raises:
            ModelError: if it is not installed.
        """
        if name not in self._bundles:
            known = ", ".join(sorted(self._bundles)) or "none"
            raise ModelError(f"bundle {name} is not installed; there are: {known}")
        return self._bundles[name]

    @property
    def answering(self) -> tuple[Answering, ...]:
        """The bundles that `match` can return, each with what it answers for."""
        return self._answering

    @property
    def digest(self) -> str:
        """SHA-256 of the bundles that can be matched, and for what: a job is of one such set."""
        lines = sorted(
            f"{one.profile.key} {one.info.name} {one.info.digest}\n" for one in self._answering
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def match(self, modality: str, body_part: str, sequence: str) -> BundleInfo | None:
        """Return the bundle that answers for such a series, or None: then it is not assessed."""
        for one in self._answering:
            if one.profile.matches(modality, body_part, sequence):
                return one.info
        return None

    def problems(self) -> list[str]:
        """Return what is wrong with the bundles, in sentences; empty when all is as published."""
        found = [*self._unreadable, *self._misfits()]
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

    def _misfits(self) -> list[str]:
        """Return what is wrong with the choice, and with the defaults."""
        found: list[str] = []
        for key, name in (self._choice or {}).items():
            if name != NOBODY and name not in self._bundles:
                found.append(f"no bundle answers for {key}: {name} is activated, not installed")
            elif name != NOBODY and self._bundles[name].profile.narrowed(key) is None:
                found.append(f"no bundle answers for {key}: {name} is activated, not made for it")
        defaults: dict[ProfileKey, str] = {}
        for info in self._bundles.values():
            if info.default:
                first = defaults.setdefault(info.profile.key, info.name)
                if first != info.name:
                    found.append(
                        f"bundle {info.name}: {first} is the default for {info.profile.key} too"
                    )
        return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
