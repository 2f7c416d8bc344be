"""Is this site fit to run? One answer a key, each naming what is wrong.

Covers the settings, the database and its schema, the spool's folder and space, the nodes, TLS, and
the models with their digests. Nothing is changed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper import certificates, config
from gatekeeper.errors import ConfigurationError
from gatekeeper.extras import web_problem
from gatekeeper.identifiers import AeTitle, IdentifierError
from gatekeeper.results import kinds
from gatekeeper.results.catalogue import CatalogueError, read
from gatekeeper.results.kinds import UnknownKindError
from gatekeeper.send.web_address import WebAddress
from gatekeeper.send.web_credentials import credential_of
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials
from gatekeeper.web.transport import tls_context
from models.registry import Registry
from storage import nodes
from storage.engine import Database
from storage.records import Confirm, Node
from storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing looked at."""

    key: str
    ok: bool
    text: str


def run(config_file: Path | None) -> list[Answer]:
    """Return an answer for every key looked at; the site is fit when all are ok."""
    settings, problems = config.inspect(config_file)
    if problems:
        return [Answer(problem.key, False, problem.problem) for problem in problems]
    return [
        Answer("settings", True, str(config_file or config.DEFAULT_FILE)),
        *_secrets(config_file, settings),
        *_database(settings),
        *_tls(settings),
        *_web(settings),
        *_spool(settings),
        *_models(settings),
    ]


def _secrets(config_file: Path | None, settings: Settings) -> Iterator[Answer]:
    path = config_file or Path(config.DEFAULT_FILE)
    if make_url(settings.database.url).password is None or not path.exists():
        return
    if "GATEKEEPER_DATABASE_URL" not in os.environ and path.stat().st_mode & 0o077:
        yield Answer(
            "database.url", False, f"holds a password, and others may read {path}: chmod 600"
        )


def _database(settings: Settings) -> Iterator[Answer]:
    url = settings.database.url
    try:
        shown = make_url(url).render_as_string(hide_password=True)
        database = Database.connect(url, lock_seconds=settings.database.lock_seconds)
    except (SQLAlchemyError, OSError, ValueError) as error:
        yield Answer("database.url", False, f"cannot be opened: {type(error).__name__}")
        return
    try:
        problem = database.schema_problem()
        yield Answer("database.url", problem is None, problem or shown)
        if problem is None:
            with database.read() as tx:
                found = nodes.listing(tx)
            yield from _nodes(found, settings)
    except (SQLAlchemyError, OSError) as error:
        yield Answer("database.url", False, f"cannot be reached: {type(error).__name__}")
    finally:
        database.dispose()


def _nodes(found: list[Node], settings: Settings) -> Iterator[Answer]:
    for node in found:
        problem = (
            _node_problem(node, settings.results.catalogues)
            or _tls_problem(node, settings)
            or _web_problem(node, settings)
        )
        place = node.url or f"{node.host}:{node.port}"
        yield Answer(f"node.{node.ae_title}", problem is None, problem or place)
    if not any(node.may_send and node.enabled for node in found):
        yield Answer("nodes", False, "no node may send: `gatekeeper node add AE HOST --sends`")
    if not any(node.receives_results and node.enabled for node in found):
        yield Answer(
            "nodes", False, "no node receives results: `gatekeeper node add AE HOST:PORT --results`"
        )


def _node_problem(node: Node, catalogues: str) -> str | None:
    try:
        AeTitle.parse(node.ae_title)
    except IdentifierError as error:
        return str(error)
    if node.receives_results and not node.port:
        return "receives results but has no port"
    try:
        kinds.parse(node.objects)
        if node.receives_results:
            read(node.language, catalogues)
    except (UnknownKindError, CatalogueError) as error:
        return str(error)
    try:
        socket.getaddrinfo(node.host, node.port or None)
    except OSError:
        return f"the host name {node.host} does not resolve"
    return None


def _tls_problem(node: Node, settings: Settings) -> str | None:
    if not node.needs_tls:
        return None
    calls = node.may_send or node.confirm is Confirm.COMMITMENT
    if calls and not settings.listen.tls_port:
        return "calls by TLS alone, but listen.tls_port is 0"
    if node.receives_results and not settings.tls.ca:
        return "is called by TLS alone, but tls.ca is not set"
    return None


def _web_problem(node: Node, settings: Settings) -> str | None:
    if not node.url:
        return None
    try:
        secure = WebAddress.parse(node.url).secure
        known = credential_of(node.ae_title, settings.send.web_credentials) is not None
    except (IdentifierError, ConfigurationError) as error:
        return str(error)
    if secure and not settings.tls.ca:
        return "is called by https, but tls.ca is not set"
    return "has credentials, which are never sent by plain http" if known and not secure else None


def _tls(settings: Settings) -> Iterator[Answer]:
    serves = bool(settings.listen.tls_port)
    if not settings.listen.plain and not serves:
        yield Answer("listen.plain", False, "false, and no listen.tls_port: no port would open")
    if not settings.tls.configured and not serves:
        return
    credentials = Credentials(settings.tls)
    try:
        if serves:
            credentials.check(server=True)
        if settings.tls.ca:
            credentials.check(server=False)
        found = certificates.in_use(settings.tls)
    except ConfigurationError as error:
        yield Answer(error.key, False, error.problem)
        return
    for one in found:
        yield Answer(
            one.key,
            one.days >= settings.tls.warn_days,
            f"{one.certificate.subject}, expires in {one.days} days",
        )


def _web(settings: Settings) -> Iterator[Answer]:
    if not settings.web.port:
        return
    problem = web_problem()
    place = f"{settings.web.host}:{settings.web.port}"
    yield Answer("web.port", problem is None, problem or place)
    try:
        secure = tls_context(settings) is not None
    except ConfigurationError as error:
        yield Answer(error.key, False, error.problem)
    else:
        yield Answer("web.host", True, "https" if secure else "http")


def _spool(settings: Settings) -> Iterator[Answer]:
    folder = Path(settings.spool.directory)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        yield Answer("spool.directory", False, f"{existing} cannot be written to")
        return
    if not folder.exists():
        yield Answer("spool.directory", True, f"{folder} (made at the first start)")
        return
    free = Spool(folder).free_mib()
    low = settings.spool.low_water_mib
    enough = free >= low
    yield Answer("spool.directory", True, str(folder))
    yield Answer(
        "spool.low_water_mib",
        enough,
        f"{free:.0f} MiB free, instances are refused under {low} MiB",
    )


def _models(settings: Settings) -> Iterator[Answer]:
    extra = settings.models.directory
    if extra and not Path(extra).is_dir():
        yield Answer("models.directory", False, f"{extra}: no such folder")
        return
    registry = Registry(settings.models.directories)
    problems = registry.problems()
    for problem in problems:
        yield Answer("models", False, problem)
    for bundle in registry.bundles():
        yield Answer(
            f"model.{bundle.name}", True, f"version {bundle.version}, {bundle.digest[:12]}"
        )
    if not registry.bundles():
        yield Answer("models", False, "no bundle is installed; nothing would be assessed")
