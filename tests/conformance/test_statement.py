"""The conformance statement: what it says is what the program does."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conformance import golden
from fastapi.routing import APIRoute
from listen.wire import SCANNER, associated, running, settings_for
from pynetdicom.association import Association

import gatekeeper
from gatekeeper import conformance
from gatekeeper.atna.reading import Readings
from gatekeeper.atna.refusals import Refusals
from gatekeeper.commitment import REQUEST_ACTION
from gatekeeper.conformance import communication, configuration, services, web_services
from gatekeeper.conformance.document import Document
from gatekeeper.listen import answers, commitment
from gatekeeper.listen.associations import OpenAssociations
from gatekeeper.listen.backpressure import QueueMark
from gatekeeper.listen.peers import Refusal
from gatekeeper.listen.receive import receiver_of
from gatekeeper.listen.server import REJECTIONS
from gatekeeper.results import kinds
from gatekeeper.send.statuses import judge
from gatekeeper.settings import rows
from gatekeeper.web.access import Access, Denial
from gatekeeper.web.holdings import Holdings
from gatekeeper.web.retrieve import Retrieve
from gatekeeper.web.serving import Service
from gatekeeper.web.store import Store
from gatekeeper.web.throttle import Throttle
from gatekeeper.web.upload import SYNTAX_NOT_SUPPORTED
from storage.engine import Database
from storage.spool import Spool

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"
_CONTEXTS = 128


@pytest.fixture(scope="module")
def statement() -> Document:
    return golden.document()


def test_the_golden_statement_is_what_is_written() -> None:
    """Each line that differs is shown; after a change that is meant, ``make golden``."""
    if not golden.FILE.exists():
        pytest.skip("the documents are not beside these tests")

    assert golden.written().splitlines() == golden.FILE.read_text(encoding="utf-8").splitlines()


@sqlite_only
def test_the_statement_comes_from_settings_nodes_and_rules(database: Database) -> None:
    """Read from the database the example is the same; what its rules ask about is not in it."""
    with database.begin() as tx:
        golden.enter(tx)
    with database.read() as tx:
        found = conformance.markdown(golden.settings(), tx)

    assert found == golden.written()
    assert "trauma" not in found


@sqlite_only
def test_every_class_and_syntax_that_is_claimed_is_negotiated(
    statement: Document, tmp_path: Path, database: Database
) -> None:
    """A scanner that proposes them gets them, in the syntax that is preferred, and nothing else."""
    classes = [row[1] for row in statement.table(services.STORAGE).rows if row[3] == "yes"]
    others = [row[1] for row in statement.table(services.OTHERS).rows if row[4] == "Listener"]
    syntaxes = [row[2] for row in statement.table(services.RECEIVED_SYNTAXES).rows]
    chosen = settings_for(tmp_path, private_sop_classes=(golden.PRIVATE_CLASS,))

    with running(chosen, database) as site:
        for some in _batches(classes, _CONTEXTS):
            with associated(site.port, [(uid, syntaxes) for uid in some]) as found:
                assert _accepted(found) == [(uid, syntaxes[0]) for uid in some]
        with associated(site.port, [(classes[0], (one,)) for one in syntaxes]) as found:
            assert _accepted(found) == [(classes[0], one) for one in syntaxes]
        with associated(site.port, [(uid, syntaxes[:2]) for uid in others]) as found:
            assert [uid for uid, _ in _accepted(found)] == others
        proposed = [(HANGING_PROTOCOL, syntaxes[:1]), (classes[0], syntaxes[:1])]
        with associated(site.port, proposed, calling=SCANNER) as found:
            assert _accepted(found) == [(classes[0], syntaxes[0])]

    assert len(classes) > 150
    assert HANGING_PROTOCOL not in classes


def test_every_status_has_the_consequence_that_the_statement_says(statement: Document) -> None:
    """Of all 65,536 statuses, and of none, the table says what the sender does."""
    said = {row[0]: row[2] for row in statement.table(communication.SENT).rows}
    ranges = [(*_range(cell), cell) for cell in said if re.fullmatch(r"[0-9A-F-]{4,9}", cell)]
    for status in range(0x10000):
        found = (cell for first, last, cell in ranges if first <= status <= last)
        disposition, _ = judge(status)
        assert said[next(found, "any other")] == disposition.value, f"{status:04X}"

    assert said["none"] == judge(None)[0].value


def test_every_status_that_is_returned_is_in_the_statement(statement: Document) -> None:
    """Wherever the listener and the web role make an answer, its status is in the table."""
    told = {row.status for row in answers.C_STORE}
    made = set(_statuses_made("listen", "web"))

    assert {f"{status:04X}" for status in told} == {
        row[0] for row in statement.table(communication.STORED).rows
    }
    assert made - {SYNTAX_NOT_SUPPORTED} == told


def test_the_administrators_page_has_the_same_statuses() -> None:
    """Whoever looks a status up there finds it, however it came into the code."""
    page = golden.FILE.with_name("administrator.md")
    if not page.exists():
        pytest.skip("the documents are not beside these tests")
    table = page.read_text(encoding="utf-8").partition("## What a sender is told")[2]
    found = re.findall(r"^\| 0x([0-9A-F]{4}) \|", table.partition("\n## ")[0], re.MULTILINE)

    assert sorted(found) == sorted(f"{row.status:04X}" for row in answers.C_STORE)


def test_every_status_of_storage_commitment_is_in_the_statement() -> None:
    """Each that the listener has a name for is in the tables of N-ACTION and N-EVENT-REPORT."""
    named = {
        value
        for name, value in vars(commitment).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int)
    }

    told = {row.status for row in (*answers.N_ACTION, *answers.N_EVENT_REPORT)}
    assert named - {REQUEST_ACTION} == told


def test_every_rejection_is_in_the_statement(statement: Document) -> None:
    """Each reason to refuse an association has its row, with what goes out on the wire."""
    found = statement.table(communication.REJECTED).rows

    assert set(REJECTIONS) == set(Refusal)
    assert len(found) == len(Refusal) + 2
    for row, code in zip(found, REJECTIONS.values(), strict=False):
        assert tuple(int(cell.partition(",")[0]) for cell in row[1:]) == code


@sqlite_only
def test_every_web_resource_is_in_the_statement(
    statement: Document, tmp_path: Path, database: Database
) -> None:
    """Methods and paths are those that are served."""
    settings, spool = golden.settings(), Spool(tmp_path / "spool")
    refusals, readings = Refusals(database, settings), Readings(database, settings)
    service = Service(settings, Access(database, Throttle(1, 1.0)), refusals, readings)
    receiver = receiver_of(settings, database, spool)
    store = Store(service, receiver, QueueMark(settings, database), OpenAssociations(database, 1.0))
    retrieve = Retrieve(service, Holdings(database, "all", 1), spool)
    served = {
        (method, route.path)
        for router in (store.routes(), retrieve.routes())
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }

    assert served == {row[:2] for row in statement.table(web_services.RESOURCES).rows}
    store.close()
    service.close()
    receiver.close(1.0)


def test_every_http_status_is_in_the_statement(statement: Document) -> None:
    """Whatever the DICOMweb routes refuse with, and what becomes of a request that fails."""
    said = {int(row[0]) for row in statement.table(web_services.HTTP_STATUSES).rows}
    refused = {
        node.args[0].value
        for path in (Path(gatekeeper.__file__).parent / "web").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "BadRequest"
        and isinstance(node.args[0], ast.Constant)
    }

    assert len(refused) > 5
    assert refused <= said
    assert {denial.status for denial in Denial} <= said
    # Success whole and in part, nothing stored; no such method; a defect.
    assert {200, 202, 409, 405, 500} <= said


def test_every_kind_of_result_is_in_the_statement(statement: Document) -> None:
    """With its SOP class, and the nodes that take it."""
    found = statement.table(services.CREATED_OBJECTS).rows

    assert [row[0] for row in found] == list(kinds.CLASSES)
    assert {row[3] for row in found if row[0] == "plain-report"} == {"READING"}


def test_no_secret_and_no_place_on_this_machine_is_in_the_statement(statement: Document) -> None:
    """Neither files' names, nor the database; every setting that a peer can notice is."""
    text = golden.written()
    shown = {row[0] for row in statement.table("Configuration parameters").rows}

    assert "/etc/gatekeeper" not in text
    assert "sqlite" not in text
    assert shown == {row.key for row in rows() if row.section in configuration.SHOWN}
    files = {row.key for row in rows() if "PEM file" in row.help or "TOML file" in row.help}
    assert files & shown <= configuration.FILES


def test_disabled_nodes_are_left_out(statement: Document) -> None:
    """A node that is refused is none that we communicate with."""
    titles = [row[0] for row in statement.table(configuration.REMOTE).rows]

    assert titles == ["AI", "CLOUD", "CT1", "MR1", "PACS", "READING"]


def _batches(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _accepted(association: Association) -> list[tuple[str, str]]:
    """Return class and syntax of each accepted context, in the order of proposal."""
    assert association.is_established
    found = sorted(association.accepted_contexts, key=lambda one: one.context_id or 0)
    return [(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in found]


def _range(cell: str) -> tuple[int, int]:
    first, _, last = cell.partition("-")
    return int(first, 16), int(last or first, 16)


def _statuses_made(*packages: str) -> Iterator[int]:
    """Yield the status of each answer that is made in the code of these packages."""
    root = Path(gatekeeper.__file__).parent
    for package in packages:
        for path in sorted((root / package).glob("*.py")):
            module = importlib.import_module(f"gatekeeper.{package}.{path.stem}")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in {"Answer", "RefusedInstance"}
                    and node.args
                    and isinstance(node.args[0], ast.Name)
                ):
                    found = getattr(module, node.args[0].id, None)
                    if isinstance(found, int):
                        yield found
