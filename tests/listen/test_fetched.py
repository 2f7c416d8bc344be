"""What an archive brings: a prior that we asked for, or a study like any other."""

from __future__ import annotations

import pytest

from gatekeeper.errors import RefusedInstance
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.fetched import is_prior
from gatekeeper.listen.headers import Identity
from storage import instances, priors
from storage.engine import Database
from storage.records import Instance, Prior

PRIOR = Identity("1.2", "1.2.8.1", "1.2.8", "1.2.8.2", "MR", own_marks=False)
OTHER = Identity("1.2", "1.2.7.1", "1.2.7", "1.2.7.2", "MR", own_marks=False)
OWN = Identity("1.2", "2.25.1", "1.2.7", "1.2.7.2", "OT", own_marks=True)

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def fetching(database: Database) -> Prior:
    """Return the study 1.2.8 as it is being fetched from PACS."""
    row = Instance("1.2.3.4", "1.2", "1.2.1", "1.2.3", "1.2.3.5", "MR", "a" * 64, 10, "MR1")
    with database.begin() as tx:
        instances.record(tx, row, None)
        priors.request(tx, "1.2.3", "PACS", "rule", 1, "")
        asked = priors.claim(tx, "test", 60)
        assert asked is not None
        priors.answered(tx, asked, ["1.2.8"])
        claimed = priors.claim(tx, "test", 60)
    assert claimed is not None
    return claimed


def archive(*, may_send: bool = True) -> OpenAssociation:
    return OpenAssociation("PACS", "10.1.9.9", may_send=may_send, moved_to="GATEKEEPER")


@pytest.mark.parametrize(
    ("originator", "while_fetching", "afterwards"),
    [
        ("GATEKEEPER", True, True),
        ("", True, False),
        ("PACS", True, False),
        ("VIEWER", False, False),
    ],
)
def test_by_c_move_it_says_who_asked_or_comes_while_it_is_fetched(
    database: Database,
    fetching: Prior,
    originator: str,
    while_fetching: bool,
    afterwards: bool,
) -> None:
    """What another node has moved to us is a study, though we once fetched the same."""
    assert is_prior(database, PRIOR, originator, archive()) is while_fetching
    with database.begin() as tx:
        priors.received(tx, fetching)
    assert is_prior(database, PRIOR, originator, archive()) is afterwards


def test_what_was_not_asked_for_is_a_study_or_refused(database: Database, fetching: Prior) -> None:
    """As the node may send studies or not; our own results may always come back."""
    assert not is_prior(database, OTHER, "GATEKEEPER", archive())
    assert not is_prior(database, OWN, "GATEKEEPER", archive(may_send=False))
    with pytest.raises(RefusedInstance) as refused:
        is_prior(database, OTHER, "GATEKEEPER", archive(may_send=False))
    assert refused.value.status == 0x0124


def test_by_c_get_it_is_of_the_study_that_was_asked_for(database: Database) -> None:
    """Whatever else the archive sends on our association is refused."""
    ours = OpenAssociation("PACS", "10.1.9.9", may_send=False, prior_study="1.2.8")
    assert is_prior(database, PRIOR, "", ours)
    with pytest.raises(RefusedInstance):
        is_prior(database, OTHER, "", ours)


def test_a_scanner_is_not_looked_up(database: Database) -> None:
    """Its instances are studies, whatever it says."""
    assert not is_prior(database, PRIOR, "GATEKEEPER", OpenAssociation("MR1", "10.1.2.3"))
