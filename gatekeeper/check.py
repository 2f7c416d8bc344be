"""Is this site fit to run? One answer a key, each naming what is wrong.

Covers the settings, the database and its schema, the spool's folder and space, the nodes, TLS,
channels, the configuration, and the models with their digests. Nothing is changed; a change that
was made past `gatekeeper` is recorded.
"""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper import certificates, config, peering, sop_classes
from gatekeeper.atna import readiness as audit_readiness
from gatekeeper.clinical.checking import bundle_answer
from gatekeeper.configuration import changes, choice
from gatekeeper.configuration.whole import Whole
from gatekeeper.errors import ConfigurationError
from gatekeeper.extras import web_problem
from gatekeeper.identifiers import AeTitle, IdentifierError
from gatekeeper.lesions import checking as lesion_checking
from gatekeeper.notify import readiness
from gatekeeper.results import kinds
from gatekeeper.results.catalogue import CatalogueError, read
from gatekeeper.results.kinds import UnknownKindError
from gatekeeper.send.web_address import WebAddress
from gatekeeper.send.web_credentials import credential_of
from gatekeeper.settings import Settings, WebSettings
from gatekeeper.sop_classes import UnknownSopClassError
from gatekeeper.tls import Credentials
from gatekeeper.web.transport import tls_context
from models.registry import Registry
from storage import channels, nodes, rules
from storage.engine import Database
from storage.records import Channel, Confirm, Node
from storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing looked at."""

    key: str
    ok: bool
    text: str


@dataclass(slots=True)
class _InUse:
    """What the database says is in use, for answers that need it without the database."""

    choice: choice.Choice | None


def run(config_file: Path | None) -> list[Answer]:
    """Return an answer for every key looked at; the site is fit when all are ok."""
    settings, problems = config.inspect(config_file)
    if problems:
        return [Answer(problem.key, False, problem.problem) for problem in problems]
    return [
        Answer("settings", True, str(config_file or config.DEFAULT_FILE)),
        *_secrets(config_file, settings),
        *_database(settings, site := _InUse(choice.of_file(settings))),
        *_tls(settings),
        *_web(settings),
        *_audit(settings),
        *_spool(settings),
        *_models(settings, site),
        *_clinical(settings),
        *_lesions(settings),
    ]


def _secrets(config_file: Path | None, settings: Settings) -> Iterator[Answer]:
    path = config_file or Path(config.DEFAULT_FILE)
    if not path.exists() or not path.stat().st_mode & 0o077:
        return
    held = {
        "database.url": make_url(settings.database.url).password is not None,
        "notify.smtp_password": bool(settings.notify.smtp_password),
        "notify.webhook_key": bool(settings.notify.webhook_key),
        "accounts.oidc_client_secret": bool(settings.accounts.oidc_client_secret),
    }
    for key, secret in held.items():
        variable = f"GATEKEEPER_{key.replace('.', '_').upper()}"
        if secret and variable not in os.environ:
            yield Answer(key, False, f"holds a password, and others may read {path}: chmod 600")


def _database(settings: Settings, site: _InUse) -> Iterator[Answer]:
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
                found, told = nodes.listing(tx), channels.listing(tx)
                of_rules = list(_rules(tx, settings))
            yield from _nodes(found, settings)
            yield from _channels(told, settings)
            yield from of_rules
            yield from _configuration(database, settings)
            with database.read() as tx:
                site.choice = choice.chosen(tx, settings)
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


def _channels(found: list[Channel], settings: Settings) -> Iterator[Answer]:
    for one in found:
        problem = readiness.problem(one, settings.notify)
        yield Answer(f"channel.{one.name}", problem is None, str(problem or one.address))


def _rules(tx: Connection, settings: Settings) -> Iterator[Answer]:
    # The dictionary of DICOM takes its time, and other commands import this module.
    from gatekeeper.rules.book import parse_book, surroundings
    from gatekeeper.rules.check import refusals

    book, around = parse_book(rules.listing(tx)), surroundings(tx, settings)
    for name, problem in book.problems.items():
        yield Answer(f"rule.{name}", False, f"{problem}; studies are planned without it")
    for rule in book.rules:
        if rule.enabled:
            wrong = [f"{place}: {problem}" for place, problem in refusals(rule, around)]
            yield Answer(f"rule.{rule.name}", not wrong, "; ".join(wrong) or rule.phase.value)


def _node_problem(node: Node, catalogues: str) -> str | None:
    try:
        AeTitle.parse(node.ae_title)
    except IdentifierError as error:
        return str(error)
    if node.receives_results and not node.port:
        return "receives results but has no port"
    wrong = peering.problem(node)
    if wrong is not None:
        return wrong
    try:
        sop_classes.parse(node.sop_classes)
        kinds.parse(node.objects)
        if node.receives_results:
            read(node.language, catalogues)
    except (UnknownKindError, UnknownSopClassError, CatalogueError) as error:
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
    if problem is not None:
        # A machine that only listens and sends needs no pages, and has chosen no port.
        asked = settings.web.port != WebSettings().port
        yield Answer("web.port", not asked, f"no pages: the web role {problem}")
        return
    yield Answer("web.port", True, f"{settings.web.host}:{settings.web.port}")
    try:
        secure = tls_context(settings) is not None
    except ConfigurationError as error:
        yield Answer(error.key, False, error.problem)
    else:
        yield Answer("web.host", True, "https" if secure else "http")
    if settings.accounts.oidc_issuer:
        yield _provider(settings)


def _provider(settings: Settings) -> Answer:
    # Of the extra `web`, as is all of that role.
    from gatekeeper.identity.oidc import Provider

    try:
        Provider(settings.accounts)
    except ConfigurationError as error:
        return Answer(error.key, False, error.problem)
    return Answer("accounts.oidc_issuer", True, settings.accounts.oidc_issuer)


def _audit(settings: Settings) -> Iterator[Answer]:
    audit = settings.audit
    if not audit.enabled:
        return
    problem = audit_readiness.problem(settings)
    if problem is not None:
        yield Answer(problem.key, False, problem.problem)
        return
    where = f"{audit.host}:{audit.port} by {audit.protocol}; `gatekeeper audit test` tries it"
    yield Answer("audit.host", True, where)


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


def _configuration(database: Database, settings: Settings) -> Iterator[Answer]:
    """Say which version is in force, after recording what was changed past `gatekeeper`."""
    try:
        version = changes.noticed(database, settings)
    except ConfigurationError as error:
        yield Answer(error.key, False, error.problem)
        return
    when = datetime.datetime.fromtimestamp(version.at, datetime.UTC).isoformat(timespec="seconds")
    known = version.who != changes.UNKNOWN
    look = f"; `gatekeeper config diff {version.number - 1} {version.number}`, then `config accept`"
    hint = "" if known else look
    yield Answer(
        "configuration",
        known,
        f"version {version.number}, by {version.who} at {when}: {version.why}{hint}",
    )
    whole = Whole.of(settings)
    for problem in whole.problems(version.document):
        # The others have answers of their own.
        if not problem.startswith(("nodes.", "channels.", "models.", "rules.")):
            yield Answer("configuration", False, problem)
    file = choice.file_of(settings)
    if file is not None:
        yield Answer("models.directory", True, f"{file} is no longer used: it can be removed")


def _clinical(settings: Settings) -> Iterator[Answer]:
    if settings.clinical.bundle:
        yield Answer("clinical.bundle", *bundle_answer(settings.clinical.bundle))


def _lesions(settings: Settings) -> Iterator[Answer]:
    if settings.lesions.bundle:
        yield Answer("lesions.bundle", *lesion_checking.bundle_answer(settings.lesions.bundle))


def _models(settings: Settings, site: _InUse) -> Iterator[Answer]:
    extra = settings.models.directory
    if extra and not Path(extra).is_dir():
        yield Answer("models.directory", False, f"{extra}: no such folder")
        return
    registry = Registry(settings.models.directories, site.choice)
    problems = registry.problems()
    for problem in problems:
        yield Answer("models", False, problem)
    for bundle in registry.bundles():
        yield Answer(
            f"model.{bundle.name}", True, f"version {bundle.version}, {bundle.digest[:12]}"
        )
    if not registry.bundles():
        yield Answer("models", False, "no bundle is installed; nothing would be assessed")
