"""What people do on the pages, as DICOM audit messages (PS3.15 A.5): signing in, looking, deciding.

Each is told once, in a transaction of its own, and never keeps a page from being answered.
"""

from __future__ import annotations

import time

from fastapi import Request

from gatekeeper.admin.routing import address_of, console_of, principal_of
from gatekeeper.atna import outbox
from gatekeeper.atna.codes import Action, Outcome
from gatekeeper.atna.events import AuditLogUsed, InstancesAccessed, UserAuthentication


def signed_in(request: Request, name: str) -> None:
    """Tell that somebody signed in."""
    _tell(request, UserAuthentication(name, address_of(request), time.time()))


def signed_out(request: Request, name: str) -> None:
    """Tell that somebody signed out."""
    _tell(request, UserAuthentication(name, address_of(request), time.time(), logout=True))


def not_let_in(request: Request, name: str, reason: str, *, throttled: bool) -> None:
    """Tell that somebody could not sign in.

    Args:
        request: that tried.
        name: as typed; it may be that of nobody.
        reason: in our own words.
        throttled: whether more tries are refused for a while.
    """
    outcome = Outcome.SERIOUS_FAILURE if throttled else Outcome.MINOR_FAILURE
    event = UserAuthentication(
        name, address_of(request), time.time(), outcome=outcome, reason=reason
    )
    _tell(request, event)


def looked(request: Request, study: str) -> None:
    """Tell that whoever is signed in looks at a study."""
    name = principal_of(request).name
    _tell(request, InstancesAccessed(name, address_of(request), time.time(), study))


def decided(request: Request, study: str) -> None:
    """Tell that whoever is signed in decided about a study."""
    name = principal_of(request).name
    event = InstancesAccessed(name, address_of(request), time.time(), study, action=Action.UPDATE)
    _tell(request, event)


def read_trail(request: Request) -> None:
    """Tell that whoever is signed in reads the audit trail."""
    name = principal_of(request).name
    _tell(request, AuditLogUsed(name, address_of(request), time.time(), str(request.url.path)))


def _tell(request: Request, event: UserAuthentication | InstancesAccessed | AuditLogUsed) -> None:
    console = console_of(request)
    outbox.told(console.database, console.settings, event)
