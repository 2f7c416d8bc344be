"""The application: DICOMweb under ``/dicom-web``, REST under ``/api/v1``, and the pages."""

from __future__ import annotations

from fastapi import FastAPI

from gatekeeper.admin.app import add_pages, not_served
from gatekeeper.admin.console import Console
from gatekeeper.api.app import make_api
from gatekeeper.api.entry import ROOT as API
from gatekeeper.metrics.routes import Watch
from gatekeeper.web.body_limit import BodyLimit
from gatekeeper.web.retrieve import Retrieve
from gatekeeper.web.serving import handle_errors
from gatekeeper.web.store import Store

ROOT = "/dicom-web"


def make_app(
    store: Store, retrieve: Retrieve, watch: Watch, console: Console, retry_after: int
) -> FastAPI:
    """Return the application.

    Args:
        store: takes uploads.
        retrieve: answers queries.
        watch: tells of health and metrics.
        console: what the pages work with.
        retry_after: seconds after which a caller that is answered 503 is to come again.
    """
    # No pages of its own: they would tell everyone what there is, with scripts from elsewhere.
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.router.redirect_slashes = False
    application.include_router(store.routes(), prefix=ROOT)
    application.include_router(retrieve.routes(), prefix=ROOT)
    application.mount(API, make_api(console), name="api")
    application.include_router(watch.routes())
    add_pages(application, console)
    limit = console.settings.web.maximum_form_mib << 20
    application.add_middleware(BodyLimit, limit=limit, elsewhere=ROOT + "/")
    handle_errors(application, retry_after, not_served)
    return application
