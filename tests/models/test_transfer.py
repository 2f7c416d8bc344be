"""Bundles go out as the same bytes and come in only when they are what they say."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from support.small_bundle import small_bundle

from models import transfer
from models.errors import ModelError
from models.manifests import MANIFEST
from models.registry import BundleInfo, Registry, read_bundle
from models.transfer import SUMS, export, import_bundle

NAME = "mr-pelvis-t2-intensity"
WEIGHTS = "intensity.safetensors"


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """Return a small fitted bundle."""
    return small_bundle(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def exported(info: BundleInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return it as a zip file."""
    path = tmp_path_factory.mktemp("out") / "bundle.zip"
    export(info, path)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return an empty folder of bundles."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def contents(path: Path) -> dict[str, bytes]:
    """Return the files of a zip by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """Write a zip of these files, names as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def test_an_export_has_the_same_bytes_wherever_it_is_made(
    info: BundleInfo, exported: Path, tmp_path: Path
) -> None:
    """Nothing of the machine or the moment is in the file."""
    copy = read_bundle(Path(shutil.copytree(info.path, tmp_path / "copy")))
    (copy.path / WEIGHTS).chmod(0o600)

    digest = export(copy, tmp_path / "again.zip")

    assert (tmp_path / "again.zip").read_bytes() == exported.read_bytes()
    assert digest == hashlib.sha256(exported.read_bytes()).hexdigest()
    lines = contents(exported)[f"{NAME}/{SUMS}"].decode().splitlines()
    assert f"{info.digest}  {MANIFEST}" in lines


def test_an_export_never_replaces_a_file_nor_takes_a_tampered_bundle(
    info: BundleInfo, exported: Path, tmp_path: Path
) -> None:
    """Both are errors, and nothing is left behind."""
    with pytest.raises(ModelError, match="exists"):
        export(info, exported)
    copy = Path(shutil.copytree(info.path, tmp_path / "copy"))
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes() + b"x")
    with pytest.raises(ModelError, match="not the published"):
        export(read_bundle(copy), tmp_path / "out.zip")

    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


@pytest.mark.parametrize("as_folder", [False, True])
def test_what_was_exported_is_installed_as_it_was(
    info: BundleInfo, exported: Path, site: Path, as_folder: bool
) -> None:
    """From the zip or from a folder: same digest, nothing but the bundle's own files."""
    found = import_bundle(info.path if as_folder else exported, site)

    assert found.digest == info.digest
    assert found.path == site / NAME
    assert {path.name for path in found.path.iterdir()} == {MANIFEST, WEIGHTS}
    assert Registry([site], shipped=False).problems() == []


def test_a_name_in_use_is_replaced_only_when_that_is_said(
    info: BundleInfo, exported: Path, site: Path
) -> None:
    """The old one is kept aside, where no registry reads it."""
    import_bundle(exported, site)
    with pytest.raises(ModelError, match="is installed"):
        import_bundle(exported, site)
    with pytest.raises(ModelError, match="is installed"):
        import_bundle(exported, site.parent, taken={NAME})

    import_bundle(exported, site, replace=True)

    assert (site / f"_{NAME}-{info.version}-{info.digest[:8]}" / MANIFEST).exists()
    assert [one.name for one in Registry([site], shipped=False).bundles()] == [NAME]


def refused(files: dict[str, bytes], site: Path, match: str) -> None:
    """Assert that a zip of these files is refused and that nothing was installed."""
    path = zipped(site.parent / "hostile.zip", files)
    with pytest.raises(ModelError, match=match):
        import_bundle(path, site)
    assert list(site.iterdir()) == []
    assert {found.name for found in site.parent.iterdir()} == {"site", "hostile.zip"}


def test_tampered_weights_and_lists_are_refused(exported: Path, site: Path) -> None:
    """One changed byte in the weights, the manifest or the list is found."""
    files = contents(exported)
    weights, manifest = f"{NAME}/{WEIGHTS}", f"{NAME}/{MANIFEST}"
    refused(files | {weights: files[weights] + b"x"}, site, "not the published")
    refused(files | {manifest: files[manifest] + b" "}, site, "does not list")
    refused(files | {f"{NAME}/{SUMS}": b""}, site, "does not list")
    refused({key: value for key, value in files.items() if key != weights}, site, "missing")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.safetensors",
        "/etc/evil.safetensors",
        "../../manifest.json",
        f"{NAME}/../evil.safetensors",
        f"{NAME}/a/evil.safetensors",
        "..\\evil.safetensors",
        "other/evil.safetensors",
    ],
)
def test_a_path_out_of_the_bundle_is_refused(exported: Path, site: Path, name: str) -> None:
    """Whatever way a name points elsewhere."""
    refused(contents(exported) | {name: b"x"}, site, "zip file holds")


@pytest.mark.parametrize("name", ["weights.pkl", "model.pt", "run.py", "note.txt", ".hidden"])
def test_what_is_no_part_of_a_bundle_is_refused(exported: Path, site: Path, name: str) -> None:
    """Pickles and programs above all."""
    refused(contents(exported) | {f"{NAME}/{name}": b"\x80\x04."}, site, "code|not part")


def test_a_pickle_under_another_name_is_refused(exported: Path, site: Path) -> None:
    """Its digest may be right: it is still not safetensors."""
    files = contents(exported)
    manifest = json.loads(files[f"{NAME}/{MANIFEST}"])
    pickle = b"\x80\x04\x95pickle"
    manifest["weights"][WEIGHTS] = hashlib.sha256(pickle).hexdigest()
    refused(
        {f"{NAME}/{MANIFEST}": json.dumps(manifest).encode(), f"{NAME}/{WEIGHTS}": pickle},
        site,
        "safetensors",
    )


def test_a_bundle_that_does_not_load_is_not_installed(exported: Path, site: Path) -> None:
    """Digests alone prove nothing."""
    files = contents(exported)
    manifest = json.loads(files[f"{NAME}/{MANIFEST}"]) | {"deciding": ["nothing"]}
    files[f"{NAME}/{MANIFEST}"] = json.dumps(manifest).encode()
    del files[f"{NAME}/{SUMS}"]
    refused(files, site, "level")


def test_a_name_that_is_no_folder_of_its_own_is_refused(exported: Path, site: Path) -> None:
    """A manifest cannot have itself installed elsewhere."""
    files = contents(exported)
    del files[f"{NAME}/{SUMS}"]
    manifest = json.loads(files[f"{NAME}/{MANIFEST}"])
    for name in ("../elsewhere", ".hidden", "_kept", ""):
        files[f"{NAME}/{MANIFEST}"] = json.dumps(manifest | {"name": name}).encode()
        refused(files, site, "characters")


def test_a_link_is_refused(exported: Path, site: Path) -> None:
    """Neither in a zip nor in a folder is a link followed."""
    path = site.parent / "hostile.zip"
    shutil.copy(exported, path)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo(f"{NAME}/link.safetensors")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ModelError, match="not a plain file"):
        import_bundle(path, site)

    folder = site.parent / "folder"
    folder.mkdir()
    (folder / WEIGHTS).symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match="not a plain file"):
        import_bundle(folder, site)


def test_too_much_is_refused(exported: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes and in number of files, before they are written."""
    many = {f"{NAME}/{number}.safetensors": b"" for number in range(transfer.MOST_FILES + 1)}
    refused(many, site, "more than")
    monkeypatch.setattr(transfer, "LARGEST_BUNDLE_BYTES", 1000)
    refused(contents(exported), site, "over")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip"])
def test_what_is_no_zip_is_refused(site: Path, content: bytes) -> None:
    """With a sentence, not a traceback."""
    path = site.parent / "bundle.zip"
    path.write_bytes(content)

    with pytest.raises(ModelError, match="not a zip"):
        import_bundle(path, site)
