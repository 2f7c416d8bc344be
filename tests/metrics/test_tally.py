"""Counts of processes without an HTTP port, handed on by files."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from support.waiting import until

from gatekeeper.metrics.tally import ACCEPTED, Tally, read_counts
from gatekeeper.metrics.tally_files import FOLDER, TallyReader, TallyWriter

SECONDS = 0.02


def written(tally: Tally, folder: Path) -> TallyWriter:
    writer = TallyWriter(tally, folder, "listen", SECONDS)
    writer.start()
    return writer


def test_counts_of_many_threads_add_up() -> None:
    """None is lost, whoever counts at the same moment."""
    tally = Tally()

    def count() -> None:
        for _ in range(2000):
            tally.answered(0xA700, 10, 0.02)
            tally.association(ACCEPTED)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = tally.counts()
    assert {one: count for one, count in found["answers"].items() if count} == {"A700": 8000}
    assert found["associations"] == {ACCEPTED: 8000}
    assert (found["bytes"], sum(found["seconds"]["counts"])) == (80000, 8000)
    assert found["seconds"]["sum"] == pytest.approx(160.0)


def test_two_processes_of_a_role_have_a_file_each_and_take_it_with_them(tmp_path: Path) -> None:
    """The second takes the next name; what ends in order leaves nothing to read."""
    one, two = Tally(), Tally()
    one.answered(0, 1, 0.0)
    reader = TallyReader(tmp_path, 60.0)
    first = written(one, tmp_path)
    until(lambda: len(reader.read()) == 1, 20, "the first has written")
    second = written(two, tmp_path)
    found = until(lambda: read if len(read := reader.read()) == 2 else None, 20, "both have")
    assert sorted(name.rpartition(".")[2] for name in found) == ["listen", "listen-2"]
    assert sorted(counts["answers"].get("0000", 0) for counts in found.values()) == [0, 1]
    second.stop(20)
    first.stop(20)
    assert reader.read() == {}


def test_a_process_that_was_killed_is_left_out_after_a_while(tmp_path: Path) -> None:
    """By the reader's own clock, whatever the file's time; one that still writes stays."""
    (tmp_path / FOLDER).mkdir()
    left = {"number": 7, "pid": 1, **Tally().counts()}
    (tmp_path / FOLDER / "host.killed.json").write_text(json.dumps(left))
    writer = written(Tally(), tmp_path)
    reader = TallyReader(tmp_path, SECONDS * 5)
    assert "host.killed" in reader.read()
    try:
        until(lambda: [*reader.read()] if "host.killed" not in reader.read() else None, 20, "gone")
        until(reader.read, 20, "who writes is there")
    finally:
        writer.stop(20)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"open": -1}',
        '{"open": true, "associations": {}, "answers": {}, "bytes": 0, "seconds": {}}',
        json.dumps({**Tally().counts(), "answers": {"0000": "many"}}),
        json.dumps({**Tally().counts(), "answers": {str(one): 1 for one in range(100)}}),
        json.dumps({**Tally().counts(), "seconds": {"counts": [1], "sum": 1}}),
        json.dumps({**Tally().counts(), "bytes": float("nan")}),
    ],
)
def test_a_file_that_is_no_tally_is_left_out(tmp_path: Path, content: str) -> None:
    """Half written, of another version, or no file of ours: the others are read."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "host.broken.json").write_text(content)
    (tmp_path / FOLDER / "host.whole.json").write_text(json.dumps(Tally().counts()))
    assert list(TallyReader(tmp_path, 60.0).read()) == ["host.whole"]


def test_counts_are_read_as_they_were_written() -> None:
    """Through JSON and back."""
    tally = Tally()
    tally.open = lambda: 3
    tally.answered(0, 5, 0.3)
    found: Any = read_counts(json.loads(json.dumps(tally.counts())))
    assert (found["open"], found["bytes"], found["answers"]["0000"]) == (3, 5, 1)
    assert found["seconds"].buckets()[-1] == ("+Inf", 1.0)


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """It is tried again, and written once it can be."""
    (tmp_path / FOLDER).write_text("a file in its place")
    writer = written(Tally(), tmp_path)
    (tmp_path / FOLDER).unlink()
    try:
        until(lambda: TallyReader(tmp_path, 60.0).read(), 20, "it is written")
    finally:
        writer.stop(20)
