"""Priors as they come: whether an instance is part of a prior study that we asked its sender for.

On an association of our own, by C-GET, it is what was asked for there. To the listener, by C-MOVE,
it says who asked (Move Originator, PS3.7 9.1.1.1.8); where it does not, it is one while its study
is being fetched. Whatever else an archive sends is a study like any other, if it may send at all.
"""

from __future__ import annotations

from gatekeeper.errors import RefusedInstance
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.headers import Identity
from storage import priors
from storage.engine import Database
from storage.records import PriorState

NOT_AUTHORISED = 0x0124
"""Refused: not authorised (PS3.7 C.5.6)."""


def is_prior(
    database: Database, identity: Identity, move_originator: str, association: OpenAssociation
) -> bool:
    """Return whether an instance is part of a prior study.

    Raises:
        RefusedInstance: with status 0x0124 when it is not, and its sender may send nothing else but
            our own results.
        SQLAlchemyError: if the database is in trouble.
    """
    if not association.moved_to and not association.prior_study:
        return False
    found = _is_asked_for(database, identity, move_originator, association)
    if not found and not association.may_send and not identity.own_marks:
        raise RefusedInstance(NOT_AUTHORISED, "it is no prior that we asked the node for")
    return found


def _is_asked_for(
    database: Database, identity: Identity, move_originator: str, association: OpenAssociation
) -> bool:
    study = identity.study_instance_uid
    if association.prior_study:
        return association.prior_study == study
    ours = move_originator == association.moved_to
    # Some archives name themselves there, pynetdicom's among them.
    if not ours and move_originator not in ("", association.calling_ae):
        return False
    with database.read() as tx:
        states = priors.states_of(tx, study, association.calling_ae)
    return bool(states if ours else states & {PriorState.CLAIMED})
