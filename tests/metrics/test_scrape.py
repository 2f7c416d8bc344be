"""A real scrape of a running listener and web role, judged by Prometheus' own checker."""

from __future__ import annotations

import subprocess
from pathlib import Path

from listen.wire import SCANNER, associated, image_file, running, sqlite_only, store
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from support.waiting import until
from support.watching import sample, samples, scrape, watched
from support.web import Web, multipart, part10, running_web

from gatekeeper.metrics import families
from storage import nodes
from storage.engine import Database
from storage.records import Node
from storage.schema import forward

HOSTILE = '"} 1\n\\evil{x="Ü'


@sqlite_only
def test_what_comes_is_seen_by_sender_and_by_process(
    tmp_path: Path, database: Database, promtool: str
) -> None:
    """Instances, bytes, answers, times and associations of a listener without an HTTP port."""
    settings = watched(tmp_path / "spool")
    with running_web(settings, database) as web, running(settings, database) as listening:
        scrape(web)
        with associated(listening.port) as association:
            status = store(association, image_file(tmp_path, "1.2.3.4")).Status
            assert status == 0
            with associated(listening.port, calling="STRANGER") as refused:
                assert refused.is_rejected

            def seen() -> str | None:
                text = scrape(web)
                answered = samples(text, "gatekeeper_instances_answered_total")
                asked = samples(text, "gatekeeper_associations_total")
                return text if sum(answered.values()) == 1 and sum(asked.values()) == 2 else None

            text = until(seen, 30, "the listener's counts are read")
        assert sum(samples(text, "gatekeeper_associations_open").values()) == 1
        assert sum(samples(text, "gatekeeper_receive_seconds_count").values()) == 1
        asked = samples(text, "gatekeeper_associations_total")
        outcomes = {dict(labels)["outcome"] for labels, count in asked.items() if count}
        assert outcomes == {"accepted", "the calling AE title is no enabled node that may send"}
        assert sample(text, "gatekeeper_queue_items", stage="receive", state="receiving") == 1
        ran = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
        assert sample(text, "gatekeeper_instances_received_total", device=SCANNER) == 1
        moment = sample(text, "gatekeeper_device_last_received_timestamp_seconds", device=SCANNER)
        assert moment is not None
        assert moment > 1.7e9


@sqlite_only
def test_every_metric_of_the_catalogue_is_in_a_scrape_and_no_other(web: Web) -> None:
    """With its kind, its help and its labels, also while there is nothing to tell."""
    found = {one.name: one for one in text_string_to_metric_families(scrape(web))}
    wanted = {one.empty().name: one for one in families.CATALOGUE}
    assert found.keys() == wanted.keys()
    for name, one in found.items():
        assert (one.type, one.documentation) == (wanted[name].kind, wanted[name].help)
        for each in one.samples:
            assert set(each.labels) - {"le"} == set(wanted[name].labels)


@sqlite_only
def test_a_hostile_ae_title_stays_the_value_of_a_label(
    tmp_path: Path, database: Database, promtool: str
) -> None:
    """Quotes, braces, a newline: no line of the exposition comes from it."""
    with running_web(watched(tmp_path / "spool"), database) as web:
        with database.begin() as tx:
            nodes.save(tx, Node(HOSTILE, "127.0.0.1", 0, may_send=True))
        text = scrape(web)
    devices = {dict(one)["device"] for one in samples(text, "gatekeeper_device_enabled")}
    assert '"} 1?\\evil{x="?' in devices
    subprocess.run([promtool, "check", "metrics"], input=text, text=True, check=True)


@sqlite_only
def test_more_devices_than_the_setting_names_share_one_series(
    tmp_path: Path, database: Database
) -> None:
    """So that no number of AE titles fills the memory of who watches."""
    with database.begin() as tx:
        for number in range(8):
            nodes.save(tx, Node(f"CT{number}", "127.0.0.1", 0, may_send=True))
    with running_web(watched(tmp_path / "spool", {"maximum_devices": 3}), database) as web:
        found = samples(scrape(web), "gatekeeper_device_enabled")
    assert {dict(one)["device"] for one in found} == {"CT0", "CT1", "CT2", "(other)"}


def test_holds_are_seen_by_node(web: Web) -> None:
    """With the end of the first, once one ends."""
    assert web.stow(multipart([part10("1.2.3.1")])).status_code == 200
    web.hold("1.2.3")
    text = scrape(web)
    assert sample(text, "gatekeeper_held", node="DOWNSTREAM") == 1
    assert sample(text, "gatekeeper_hold_first_end_timestamp_seconds") is None
    with web.database.begin() as tx:
        tx.execute(update(forward).values(hold_until=4102444800.0))
    assert sample(scrape(web), "gatekeeper_hold_first_end_timestamp_seconds") == 4102444800
