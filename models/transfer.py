"""Transfer: a bundle as one file, to take to another site, and into a folder of bundles.

An exported file is a zip whose bytes depend on the bundle alone, with a list of digests that
``sha256sum -c`` reads. What comes in is taken for hostile until it has been loaded: names, sizes
and digests are checked before a byte is parsed, nothing but a manifest and safetensors is taken,
and nothing is installed that `models.detector.load` refuses.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from models import activation
from models.errors import ModelError
from models.manifests import LARGEST_MANIFEST_BYTES, MANIFEST
from models.registry import BundleInfo, read_bundle

SUMS = "SHA256SUMS"
"""Digests of the files beside it in an exported bundle."""
LARGEST_BUNDLE_BYTES = 4 << 30
MOST_FILES = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}")
_CODE_ENDINGS = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".py", ".so")
_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def export(info: BundleInfo, path: Path) -> str:
    """Write a bundle to a zip file and return the file's SHA-256. Same bundle, same bytes.

    Raises:
        ModelError: if the bundle is not as published, or the file exists or cannot be written.
    """
    files = [MANIFEST, *sorted(str(name) for name in info.manifest["weights"])]
    sums: dict[str, str] = {}
    made = path.with_name(f".{path.name}.partial")
    try:
        with made.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name in files:
                sums[name] = _add(archive, f"{info.name}/{name}", info.path / name)
                expected = info.digest if name == MANIFEST else info.manifest["weights"][name]
                if sums[name] != expected:
                    raise ModelError(f"bundle {info.name}: {name} is not the published file")
            text = "".join(f"{sums[name]}  {name}\n" for name in files)
            archive.writestr(_entry(f"{info.name}/{SUMS}"), text)
        # Linked, not renamed: an existing file is never replaced.
        os.link(made, path)
        return _digest(path)
    except FileExistsError as error:
        raise ModelError(f"{path} exists") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({os.strerror(error.errno or 0)})") from error
    finally:
        made.unlink(missing_ok=True)


def import_bundle(
    source: Path, directory: Path, taken: Collection[str] = (), *, replace: bool = False
) -> BundleInfo:
    """Install a bundle from a zip file or a folder, and return it.

    Args:
        source: what `export` wrote, or a bundle's folder.
        directory: the site's folder of bundles.
        taken: names that are in use elsewhere, as those of the shipped bundles.
        replace: whether a bundle of the same name may be replaced; the old one is kept aside.

    Raises:
        ModelError: naming the rule that the source breaks; nothing was installed then.
    """
    with activation.locked(directory), staging(directory) as staged:
        if source.is_dir():
            _copy_folder(source, staged)
        else:
            _unpack(source, staged)
        info = _checked(staged)
        if (info.name in taken or (directory / info.name).exists()) and not replace:
            raise ModelError(f"a bundle {info.name} is installed; say so if it is to be replaced")
        _verify_by_loading(info)
        return install(staged, directory, info)


@contextmanager
def staging(directory: Path) -> Generator[Path]:
    """Give a folder inside `directory` that no registry reads, and remove it afterwards."""
    try:
        staged = Path(tempfile.mkdtemp(prefix=".bundle-", dir=directory))
    except OSError as error:
        raise ModelError(f"{directory}: cannot be written to") from error
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def install(staged: Path, directory: Path, info: BundleInfo) -> BundleInfo:
    """Move a staged bundle to its name; one that is there already is kept as ``_NAME-VERSION``.

    Raises:
        ModelError: if it cannot be moved.
    """
    place = directory / info.name
    try:
        staged.chmod(0o755)
        if place.exists():
            kept = directory / _aside(place)
            if kept.exists():
                shutil.rmtree(kept)
            place.rename(kept)
        staged.rename(place)
    except OSError as error:
        raise ModelError(f"{place}: cannot be written") from error
    return read_bundle(place)


def _aside(place: Path) -> str:
    try:
        old = read_bundle(place)
    except ModelError:
        return f"_{place.name}-unreadable"
    return f"_{place.name}-{old.version}-{old.digest[:8]}"


def _verify_by_loading(info: BundleInfo) -> None:
    # Here, not above: it imports torch, which exporting and listing do without.
    from models.detector import load

    load(info)


def _checked(staged: Path) -> BundleInfo:
    """Return the staged bundle, its names and digests checked and its list of digests removed."""
    info = read_bundle(staged)
    if not _NAME.fullmatch(info.name) or not _VERSION.fullmatch(info.version):
        raise ModelError("the bundle's name or version holds characters that it may not")
    weights = {str(name): str(sha) for name, sha in info.manifest["weights"].items()}
    if any(not name.endswith(".safetensors") for name in weights):
        raise ModelError(f"bundle {info.name}: weights are in another format than safetensors")
    found = {path.name for path in staged.iterdir()}
    if missing := sorted(set(weights) - found):
        raise ModelError(f"bundle {info.name}: {missing[0]} is missing")
    if unexpected := sorted(found - set(weights) - {MANIFEST, SUMS}):
        raise ModelError(f"bundle {info.name}: {unexpected[0]} is not part of a bundle")
    for name, sha in weights.items():
        if _digest(staged / name) != sha:
            raise ModelError(f"bundle {info.name}: {name} is not the published file")
    if SUMS in found:
        _check_sums(info, staged / SUMS, weights | {MANIFEST: info.digest})
        (staged / SUMS).unlink()
    return info


def _check_sums(info: BundleInfo, path: Path, expected: dict[str, str]) -> None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if sorted(lines) != sorted(f"{sha}  {name}" for name, sha in expected.items()):
        raise ModelError(f"bundle {info.name}: {SUMS} does not list these files")


def _copy_folder(source: Path, staged: Path) -> None:
    left = LARGEST_BUNDLE_BYTES
    paths = sorted(source.iterdir())
    if len(paths) > MOST_FILES:
        raise ModelError(f"{source}: more than {MOST_FILES} files")
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise ModelError(f"{source}: {path.name} is not a plain file")
        _check_file_name(path.name)
        left -= path.stat().st_size
        if left < 0:
            raise ModelError(f"{source}: over {LARGEST_BUNDLE_BYTES >> 20} MiB")
        shutil.copyfile(path, staged / path.name)


def _unpack(source: Path, staged: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            _unpack_entries(archive, staged)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ModelError(f"{source.name}: not a zip file that can be read") from error
    except OSError as error:
        raise ModelError(f"{source}: cannot be read") from error


def _unpack_entries(archive: zipfile.ZipFile, staged: Path) -> None:
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise ModelError(f"the zip file holds more than {MOST_FILES} files")
    if sum(entry.file_size for entry in entries) > LARGEST_BUNDLE_BYTES:
        raise ModelError(f"the zip file expands over {LARGEST_BUNDLE_BYTES >> 20} MiB")
    folders: set[str] = set()
    left = LARGEST_BUNDLE_BYTES
    for entry in entries:
        folder, _, name = entry.filename.rpartition("/")
        if entry.is_dir() and "/" not in entry.filename.rstrip("/"):
            folders.add(entry.filename.rstrip("/"))
            continue
        folders.add(folder)
        # The upper half of the attributes is the file's mode where Unix made the zip.
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if "/" in folder or folder in (".", "..") or "\\" in entry.filename:
            raise ModelError("the zip file holds a path that leads outside the bundle")
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            raise ModelError("the zip file holds something that is not a plain file")
        _check_file_name(name)
        if (staged / name).exists():
            raise ModelError(f"the zip file holds {name} twice")
        left -= _extract(archive, entry, staged / name, left)
    if len(folders) > 1:
        raise ModelError("the zip file holds more than one folder")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, left: int) -> int:
    """Write one entry and return its size; what a header claims of it is not believed."""
    allowed = min(left, entry.file_size)
    written = 0
    with archive.open(entry) as file, path.open("xb") as out:
        while block := file.read(_CHUNK):
            written += len(block)
            if written > allowed:
                raise ModelError("the zip file expands to more than it says")
            out.write(block)
    return written


def _check_file_name(name: str) -> None:
    if name.lower().endswith(_CODE_ENDINGS):
        raise ModelError(f"{name} may hold code; only safetensors are taken")
    if name not in (MANIFEST, SUMS) and not (
        name.endswith(".safetensors") and _NAME.fullmatch(name.lower())
    ):
        raise ModelError(f"{name!r} is not part of a bundle")


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    digest = hashlib.sha256()
    if path.name == MANIFEST and path.stat().st_size > LARGEST_MANIFEST_BYTES:
        raise ModelError("the manifest is too large to be one")
    with path.open("rb") as file, archive.open(_entry(name), "w", force_zip64=True) as out:
        while block := file.read(_CHUNK):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry without anything of this machine or moment; stored, not compressed."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.create_system = 3
    return entry


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
