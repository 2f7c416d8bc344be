"""The API against its own description: schemathesis asks what the description allows, and more."""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from api.conftest import Api
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.generation import GenerationMode
from support.objects import mr_slice
from support.passage import EXPLICIT, MR, Passage
from support.past import Series, evidence
from work.phantoms import encoded

from gatekeeper import study_index
from gatekeeper.settings import IndexSettings
from storage import instances, nodes, rules
from storage.records import Instance, Node

STUDY = "1.2.826.0.1.77.1"
KNOWN = {
    "uid": STUDY,
    "ae": "PACS",
    "name": "night",
    "profile": "MR/BRAIN/T1",
    "key": "gate.suspect",
    "number": 1,
}
"""What there is, for paths that name something."""
EXAMPLES = int(os.environ.get("GATEKEEPER_CONTRACT_EXAMPLES", "3"))
"""Of each operation, and as many that break the description."""
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def seed(site: Passage) -> None:
    """Have a judged and held study, a node that nobody is behind, and a rule."""
    image = mr_slice(1)
    image.SOPInstanceUID, image.StudyInstanceUID = f"{STUDY}.1.1", STUDY
    image.SeriesInstanceUID, image.PatientName = f"{STUDY}.1", "Meier^Anna"
    kept = site.spool.store(encoded(image))
    of = (str(image.SOPInstanceUID), MR, EXPLICIT, STUDY, f"{STUDY}.1", "MR", kept.digest)
    with site.database.begin() as tx:
        instances.record(tx, Instance(*of, kept.size, "SCANNER"), None)
        nodes.save(tx, Node("PACS", "127.0.0.1", 1, receives_results=True))
        rules.save(tx, "night", {"when": [], "then": [{"priority": "urgent"}]}, enabled=True)
    site.complete(STUDY)
    study_index.read_due(site.database, site.spool, IndexSettings())
    site.judge(STUDY, "SUSPECT", **evidence([Series(0.02)], uid=STUDY))


@pytest.fixture
def described(api: Api, site: Passage) -> Any:
    """Return the description that the API gives of itself, on a site that has something."""
    seed(site)
    document = api.call("GET", "/openapi.json", api.token("describer")).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=api.url)
    return schema


def asked(described: Any, modes: list[GenerationMode], examples: int, check: Any) -> int:
    """Have each operation asked so often, and return how many there are."""
    count = 0
    for found in described.get_all_operations():
        operation = found.ok()
        count += 1
        for mode in modes:

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.filter_too_much,
                    HealthCheck.data_too_large,
                ],
            )
            @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
            def ask(case: Any, known: bool) -> None:
                if known:
                    for name in case.path_parameters or {}:
                        case.path_parameters[name] = KNOWN.get(name, case.path_parameters[name])
                check(case)

            ask()
    return count


def test_every_operation_answers_as_described(described: Any, api: Api) -> None:
    """Whatever is asked: no failure of ours, no status and no answer that is not described."""

    headers = {"Authorization": f"Bearer {api.token('anybody')}"}

    def check(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    assert asked(described, modes, EXAMPLES, check) > 50


def test_every_operation_needs_a_caller(described: Any) -> None:
    """Whatever is asked without a token is 401, as described."""

    def check(case: Any) -> None:
        case.headers.pop("Authorization", None)
        case.cookies.clear()
        answer = case.call()
        assert answer.status_code == 401, answer.text
        case.validate_response(answer, checks=CHECKS)

    assert asked(described, [GenerationMode.POSITIVE], 1, check) > 50
