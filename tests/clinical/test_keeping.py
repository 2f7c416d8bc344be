"""Values by CSV, SR and service: all or nothing, once, and without a patient's identity."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from clinical.reports import num, report
from sqlalchemy import select
from support.command_line import read, run, runner

from gatekeeper.cli import app
from gatekeeper.clinical import service
from gatekeeper.errors import ClinicalRefused
from gatekeeper.pseudonym import patient
from storage import clinical_values
from storage.engine import Database
from storage.schema import clinical_value

KEY = b"k" * 32
HEAD = "study,patient,observed,name,value,unit\n"


@pytest.fixture
def database(sqlite_url: str) -> Generator[Database]:
    """Return a database for what does not depend on its kind."""
    found = Database.connect(sqlite_url)
    yield found
    found.dispose()


@pytest.fixture
def either(database_url: str) -> Generator[Database]:
    """Return a database, once on SQLite and once on PostgreSQL."""
    found = Database.connect(database_url)
    yield found
    found.dispose()


def keep(database: Database, text: str) -> service.Kept:
    """Keep a CSV text."""
    with database.begin() as tx:
        return service.keep(tx, service.rows_of_csv(text.encode()), "csv", "r", KEY)


def test_a_value_said_twice_is_kept_once(either: Database) -> None:
    """A second import of the same table changes nothing, and says so."""
    text = HEAD + "1.2.3,,2026-03-15,dlco,48,%\n,P1,2026-03-15,fev1-volume,2500,mL\n"
    assert keep(either, text) == service.Kept(2, 0)
    assert keep(either, text) == service.Kept(0, 2)
    with either.read() as tx:
        first, second = clinical_values.listing(tx)
    assert (first.value, first.unit, first.given_value, first.given_unit) == (2.5, "L", 2500, "mL")
    assert (second.study_instance_uid, second.patient) == ("1.2.3", "")


def test_of_a_patient_only_a_keyed_hash_is_in_the_database(database: Database) -> None:
    """PatientID stands in no column; the same key finds him again."""
    keep(database, HEAD + ",PATIENT-ID-7,2026-03-15,dlco,48,%\n")
    with database.read() as tx:
        (row,) = tx.execute(select(clinical_value)).all()
        assert "PATIENT-ID-7" not in repr(row)
        whose = patient(KEY, "PATIENT-ID-7")
        assert len(clinical_values.known_at(tx, "1.2.3", whose, 1e12)) == 1
        assert clinical_values.known_at(tx, "1.2.3", patient(b"x" * 32, "PATIENT-ID-7"), 1e12) == []


def test_a_value_that_arrives_later_is_not_known_before(either: Database) -> None:
    """A second attempt at a job sees what the first one saw."""
    keep(either, HEAD + "1.2.3,,,dlco,48,%\n")
    with either.read() as tx:
        (one,) = clinical_values.known_at(tx, "1.2.3", "", 1e12)
        assert clinical_values.known_at(tx, "1.2.3", "", one.at - 0.001) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.2.3,P1,2026-03-15,dlco,48,%", "row 2: exactly one of study and patient is needed"),
        (",,2026-03-15,dlco,48,%", "row 2: exactly one of study and patient"),
        ("1.2.x,,2026-03-15,dlco,48,%", "row 2: study: not a UID"),
        (",P1,,dlco,48,%", "row 2: a value of a patient needs the time"),
        (",P1,15.3.2026,dlco,48,%", "row 2: observed is not an ISO 8601"),
        (",P1,2026-03-15,dl-co,48,%", "row 2: not a known quantity"),
        (",P1,2026-03-15,dlco,low,%", "row 2: value is not a number"),
        (",P1,2026-03-15,dlco,48,mL", "row 2: dlco: unit 'mL' is not one of %"),
        (",P1,2026-03-15,dlco,480,%", "row 2: dlco: not within 5 to 160 %"),
    ],
)
def test_one_wrong_row_leaves_nothing_behind(database: Database, row: str, message: str) -> None:
    """The row and its rule are named, and the good row before it is not kept either."""
    with pytest.raises(ClinicalRefused, match=message) as refused:
        keep(database, f"{HEAD}1.2.3,,,dlco,48,%\n{row}\n")
    assert "P1" not in str(refused.value)
    with database.read() as tx:
        assert clinical_values.listing(tx) == []


def test_a_table_of_another_form_is_refused() -> None:
    """Unknown columns and bytes that are no text are named."""
    with pytest.raises(ClinicalRefused, match="the columns must be of"):
        service.rows_of_csv(b"study,name,value,unit,birthday\n")
    with pytest.raises(ClinicalRefused, match="no CSV table in UTF-8"):
        service.rows_of_csv(b"name,value,unit\n\xff\xfe\x00,1,%\n")


@pytest.mark.parametrize(
    "row",
    [
        {"study": 7, "name": "dlco", "value": 48, "unit": "%"},
        {"study": "1.2.3", "name": "dlco", "value": True, "unit": "%"},
        {"study": "1.2.3", "name": "dlco", "value": "inf", "unit": "%"},
        {"study": "1.2.3", "name": "dlco", "value": 48, "unit": "%", "colour": "red"},
    ],
)
def test_a_document_of_the_api_is_checked_by_type(
    database: Database, row: dict[str, object]
) -> None:
    """JSON brings numbers, lists and truths where texts are meant."""
    with database.begin() as tx, pytest.raises(ClinicalRefused, match="row 1"):
        service.keep(tx, [row], "api", "caller", KEY)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a new site, and work in it."""
    monkeypatch.chdir(tmp_path)
    run("init")
    return tmp_path


def test_the_command_line_imports_lists_and_forgets(site: Path) -> None:
    """A table and a report come in, are listed, and go by their patient."""
    table = site / "t.csv"
    table.write_text(HEAD + "1.2.3,,2026-03-15,dlco,48,%\n", encoding="utf-8")
    assert "1 new, 0 known" in run("clinical", "import", str(table))
    assert "0 new, 1 known" in run("clinical", "import", str(table))
    made = report([num(("LN", "20152-5"), "81", "%"), num(("LN", "59408-5"), "94", "L")], "1.2.4")
    made.save_as(site / "r.dcm", enforce_file_format=True)
    found = read("clinical", "import", str(site / "r.dcm"))
    assert found["new"] == 2  # of the study and of the patient
    assert found["refused"] == ["spo2: unit 'L' is not one of %, 1"]
    rows = read("clinical", "list")
    assert {(row["name"], row["source"]) for row in rows} == {("dlco", "csv"), ("fev1", "sr")}
    assert len(read("clinical", "list", "--study", "1.2.4")) == 1
    assert "1 values removed" in run("clinical", "forget", "--patient", "P1")
    assert "1 values removed" in run("clinical", "forget", "--study", "1.2.3")
    assert len(read("clinical", "list")) == 1


def test_a_report_without_known_measurements_is_refused(site: Path) -> None:
    """The command says what it looked for and did not find."""
    report([num(("LN", "20152-5"), "2.5", "L")]).save_as(site / "r.dcm", enforce_file_format=True)
    answer = run_refused("clinical", "import", str(site / "r.dcm"))
    assert "no measurement that is known" in answer
    assert "fev1: unit 'L'" in answer


def run_refused(*arguments: str) -> str:
    """Run a command that is to be refused, and return why."""
    answer = runner.invoke(app, arguments)
    assert isinstance(answer.exception, ClinicalRefused), answer.output
    return str(answer.exception)
