"""The renderer and its cache: drawn once, by a child that is limited, and bounded on the disk."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support.waiting import until
from viewing.test_drawing import head, request_of

from gatekeeper.identifiers import Digest
from gatekeeper.settings import Settings, SpoolSettings, ViewingSettings
from gatekeeper.viewing.cache import Cache
from gatekeeper.viewing.renderer import Progress, Renderer, State
from gatekeeper.viewing.request import ViewRequest

KEYS = [Digest.of(bytes([number])) for number in range(4)]


def settings_of(folder: Path, **viewing: Any) -> Settings:
    return dataclasses.replace(
        Settings(),
        spool=SpoolSettings(directory=str(folder), low_water_mib=1),
        viewing=ViewingSettings(**viewing),
    )


@pytest.fixture
def renderer(tmp_path: Path) -> Generator[Renderer]:
    (tmp_path / "spool").mkdir()
    made = Renderer(settings_of(tmp_path / "spool"))
    yield made
    made.close()


def ended(renderer: Renderer, request: ViewRequest) -> Progress:
    def is_over() -> bool:
        return renderer.ask(request).state in (State.READY, State.FAILED)

    until(is_over, 60, "the series is drawn, or not")
    return renderer.ask(request)


def test_a_series_is_drawn_once_and_then_kept(renderer: Renderer, tmp_path: Path) -> None:
    """Another process with the same folder finds what was drawn; nothing else is left behind."""

    request = request_of(head(4), tmp_path)
    assert renderer.ask(request).state is State.WAITING
    assert ended(renderer, request).state is State.READY
    manifest = renderer.cache.manifest(Digest(request.key))
    assert manifest is not None
    assert len(manifest["slices"]) == 4
    assert (renderer.cache.picture(Digest(request.key), "3.png") or b"")[:4] == b"\x89PNG"
    assert renderer.cache.picture(Digest(request.key), "4.png") is None
    spool = tmp_path / "spool"
    until(lambda: not list((spool / "viewing" / "under-way").iterdir()), 30, "all is tidy")
    other = Renderer(settings_of(spool))
    assert other.ask(request).state is State.READY


def test_what_cannot_be_drawn_is_told_in_a_sentence_and_harms_no_other(
    renderer: Renderer, tmp_path: Path
) -> None:
    """A file that is not what its digest names ends the child; the next series has a fresh one."""

    broken, whole = request_of(head(3, number=2), tmp_path), request_of(head(3), tmp_path)
    Path(broken.files[0].path).write_bytes(b"something else")
    renderer.ask(broken)
    renderer.ask(whole)
    told = ended(renderer, broken)
    assert told.state is State.FAILED
    assert told.reason == (
        "The pictures were not made: a file of the spool is not what its digest names."
    )
    assert ended(renderer, whole).state is State.READY


def test_a_machine_without_decoders_says_what_to_install(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No child is started that could not decode anything."""

    monkeypatch.setattr("gatekeeper.extras._VIEWING", ("numpy", "no_such_package"))
    told = renderer.ask(request_of(head(3), tmp_path))
    assert told.state is State.FAILED
    assert told.reason == (
        "This machine cannot show images: it needs no_such_package: install dicom-gatekeeper with "
        "its extra `worker`."
    )


def put(cache: Cache, key: Digest, size: int, used_at: float | None = None) -> None:
    """Keep a set of pictures of this size that was last looked at then."""
    folder = cache.begin() / "pictures"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"x" * size)
    (folder / "manifest.json").write_text("{}")
    if used_at is not None:
        os.utime(folder / "manifest.json", (used_at, used_at))
    cache.adopt(folder, key)


def test_the_cache_keeps_what_was_looked_at_last(tmp_path: Path) -> None:
    """Over its size the oldest look goes first; over its time all goes that nobody looked at."""

    cache = Cache(tmp_path / "cache", 2500, 1e12)
    for number, key in enumerate(KEYS[:3]):
        put(cache, key, 1000, 1000.0 + number)
    assert cache.manifest(KEYS[0]) == {}
    cache.tidy(3600)
    there = [cache.picture(key, "0.png") is not None for key in KEYS[:3]]
    assert there == [True, False, True]

    put(cache, KEYS[0], 10)
    assert len(cache.picture(KEYS[0], "0.png") or b"") == 1000

    Cache(tmp_path / "cache", 1 << 30, 60).tidy(3600)
    assert cache.picture(KEYS[2], "0.png") is None
    assert cache.picture(KEYS[0], "0.png") is not None


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    """A folder that nobody has drawn in for long goes; one under way stays."""

    cache = Cache(tmp_path / "cache", 1 << 30, 60)
    left, under_way = cache.begin(), cache.begin()
    os.utime(left, (1000.0, 1000.0))
    assert cache.tidy(3600) == 1
    assert not left.exists()
    assert under_way.exists()
