"""The power is cut under load: `gatekeeper bench power` in short, and the disk it stands on."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from support.cuts import Plan, under_load
from support.power import missing
from support.volatile_disk import CACHE, SECTOR, VolatileDisk
from support.waiting import until

SIZE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> VolatileDisk:
    (tmp_path / "states").mkdir()
    return VolatileDisk(tmp_path / "states", SIZE)


def test_what_was_acknowledged_is_there_after_the_power_was_cut(tmp_path: Path) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    found = under_load("durable:2", "ext4", tmp_path, Plan(2, 2, 1.0, seed=1))
    assert sum(left.acknowledged for _, left in found) > 0
    # Two under load, and three each while it recovers.
    assert [(left.lost, left.damaged, left.faults) for _, left in found] == [(0, 0, ())] * 8


def test_what_was_flushed_survives_every_cut(disk: VolatileDisk, tmp_path: Path) -> None:
    disk.write(4096, b"a" * 4096)
    disk.flush()
    disk.write(8192, b"b" * 4096)
    for seed in range(20):
        assert disk.cut(random.Random(seed), tmp_path / f"{seed}") == 1
        assert (tmp_path / f"{seed}").read_bytes()[4096:8192] == b"a" * 4096


def test_of_what_was_not_flushed_any_sectors_may_survive_and_the_disk_runs_on(
    disk: VolatileDisk, tmp_path: Path
) -> None:
    disk.write(0, b"a" * 4 * SECTOR)
    disk.flush()
    disk.write(0, b"b" * 4 * SECTOR)
    left: set[str] = set()
    for seed in range(200):
        disk.cut(random.Random(seed), tmp_path / f"{seed}")
        data = (tmp_path / f"{seed}").read_bytes()[: 4 * SECTOR].decode()
        sectors = [data[start : start + SECTOR] for start in range(0, len(data), SECTOR)]
        assert all(sector == sector[0] * SECTOR for sector in sectors)
        left.add("".join(sector[0] for sector in sectors))
    assert {"aaaa", "bbbb"} < left
    assert disk.read(0, 4 * SECTOR) == b"b" * 4 * SECTOR


def test_a_patient_cut_comes_just_before_a_flush(disk: VolatileDisk, tmp_path: Path) -> None:
    cached: list[int] = []
    image = tmp_path / "image"
    cutting = threading.Thread(
        target=lambda: cached.append(disk.cut(random.Random(1), image, patience=60))
    )
    cutting.start()
    until(lambda: disk.ordered, 10, "the cut is ordered")
    disk.write(0, b"a")
    disk.write(9, b"b")
    assert not cached
    disk.flush()
    cutting.join()
    assert cached == [2]


def test_of_more_than_the_cache_holds_the_oldest_has_reached_the_platter(
    disk: VolatileDisk, tmp_path: Path
) -> None:
    more = CACHE // SIZE + 2
    for number in range(1, more + 1):
        disk.write(0, bytes([number]) * SIZE)
    for seed in range(5):
        image = tmp_path / f"{seed}"
        assert disk.cut(random.Random(seed), image) == CACHE // SIZE
        assert set(image.read_bytes()) <= set(range(2, more + 1))
