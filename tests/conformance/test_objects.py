"""The annexes on objects, codes and templates say what is in the objects."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from conformance import golden, objects

from gatekeeper.conformance import objects as annex
from gatekeeper.results import codes
from gatekeeper.results.kinds import CLASSES

Published = Callable[[str], metadata.Distribution]


def test_the_annex_on_objects_is_made_from_objects(published: Published) -> None:
    """Each attribute, its presence and source, is what composing a study gives."""
    published("dicom-standard")

    assert objects.written().splitlines() == objects.FILE.read_text(encoding="utf-8").splitlines()


def test_every_kind_has_its_tables_in_the_statement() -> None:
    """Modules and attributes in their order, together with those of every object."""
    document = golden.document()
    common = document.table("Attributes of every object").rows
    for kind, made in annex.read().items():
        rows = document.table(f"Attributes of {kind} besides those of every object").rows
        assert {*rows, *common} == {one.cells for one in made.attributes}
        assert list(rows) == [one.cells for one in made.attributes if one.cells in set(rows)]
        assert document.table(f"Modules of {kind}").rows == made.modules

    assert set(annex.read()) == set(CLASSES)


def test_there_are_no_private_attributes() -> None:
    """As the statement says, at any depth."""
    assert objects.private_elements() == []


def test_every_code_and_template_in_the_objects_is_in_the_statement() -> None:
    """Private codes from our own scheme; templates as the content trees name them."""
    document = golden.document()
    private = {row[0] for row in document.table("Private codes").rows}
    public, templates = objects.coded()

    assert private == {code.value for code in codes.ALL_OURS}
    assert {tuple(one) for one in public} <= set(annex.public_codes())
    known = {row[0] for row in document.table("Templates").rows}
    assert {f"TID {one}" for one in templates} <= known
