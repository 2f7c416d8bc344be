"""Who is talked to: nodes, what they answered, and tokens of those who call by HTTP."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Role(enum.StrEnum):
    """What a node is in the life of a study."""

    SCANNER = "scanner"
    """It sends studies."""
    ARCHIVE = "archive"
    """It keeps studies and answers queries. What it is sent never waits for a verdict."""
    DOWNSTREAM = "downstream"
    """It works on studies, as a downstream AI does. What it is sent passes the gate first."""
    WORKSTATION = "workstation"
    """A person looks at studies there."""


class Retrieve(enum.StrEnum):
    """How priors are fetched from a node (PS3.4 annex C)."""

    GET = "get"
    """C-GET: they come on the association that asks for them."""
    MOVE = "move"
    """C-MOVE: the node sends them to our listener."""


class Confirm(enum.StrEnum):
    """How a node is asked whether it keeps what it answered as stored."""

    NONE = "none"
    COMMITMENT = "commitment"
    """Storage commitment (PS3.4 annex J)."""
    FIND = "find"
    """C-FIND at IMAGE level (PS3.4 annex C)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A DICOM peer: who it is, where it is reached, what it may do."""

    ae_title: str
    host: str
    port: int
    may_send: bool = False
    receives_results: bool = False
    networks: tuple[str, ...] = ()
    """CIDR blocks it may call from; empty means the addresses that `host` resolves to."""
    quiet_seconds: float | None = None
    """Quiet time of studies from this node; None means the setting ``listen.quiet_seconds``."""
    enabled: bool = True
    description: str = ""
    objects: tuple[str, ...] = ()
    """Kinds of result it takes; empty means the usual ones."""
    language: str = "en"
    """Language of the results it takes, an RFC 5646 tag."""
    tls: bool = False
    """Whether it calls and is called by TLS alone."""
    certificate: str = ""
    """SHA-256 of its certificate in DER, lower-case hexadecimal; empty means any certificate of a
    CA of ours that names `host`."""
    confirm: Confirm = Confirm.NONE
    """How it is asked to confirm what it has stored."""
    roles: tuple[Role, ...] = ()
    receives_studies: bool = False
    """Whether every study is forwarded to it; without, only what a rule forwards."""
    sop_classes: tuple[str, ...] = ()
    """SOP classes it may send and is sent studies of, as `gatekeeper.sop_classes` names them;
    empty for all."""
    retrieve: Retrieve = Retrieve.GET
    """How priors are fetched from it."""
    url: str = ""
    """Root of its DICOMweb service (PS3.18); what it is sent goes there by STOW-RS, and `host` and
    `port` are the URL's. Empty for a node that is called by DIMSE."""

    @property
    def gated(self) -> bool:
        """Whether a study is forwarded to it only after a verdict or a release."""
        return Role.DOWNSTREAM in self.roles

    @property
    def brings_priors(self) -> bool:
        """Whether it calls us with the priors that we asked it for."""
        return self.retrieve is Retrieve.MOVE

    @property
    def needs_tls(self) -> bool:
        """Whether plain text is refused; a certificate can be shown by TLS alone."""
        return self.tls or bool(self.certificate)


@dataclass(frozen=True, slots=True)
class Echo:
    """What a node answered to the latest C-ECHO."""

    node: str
    at: float
    answered: bool
    detail: str


class Scope(enum.StrEnum):
    """What the holder of a token may do."""

    STOW = "stow"
    """Send studies."""
    READ = "read"
    """Query and retrieve what is served."""
    METRICS = "metrics"
    """Read the metrics."""
    VIEW = "view"
    """By REST, this and what follows: as the permission of the same name."""
    REVIEW = "review"
    OPERATE = "operate"
    CONFIGURE = "configure"
    JUDGE = "judge"
    AUDIT = "audit"
    ACCOUNTS = "accounts"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A bearer token, known by the SHA-256 of its text."""

    name: str
    digest: str
    scopes: tuple[Scope, ...]
    node: str = ""
    """AE title of the node that what it sends comes from; empty for one that only reads."""
    created_at: float = 0.0
    expires_at: float | None = None
    disabled: bool = False
    expired: bool = False
    """Whether `expires_at` is over, by the database's clock."""
