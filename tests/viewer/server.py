"""OHIF and an archive's DICOMweb on one origin: a small server of files with a reverse proxy.

One origin, so that neither the archive nor the browser needs rules for cross-origin requests.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DICOMWEB = "/dicom-web"
_PASSED = ("Accept", "Content-Type", "Range")
_TIMEOUT_SECONDS = 60

CONFIGURATION: dict[str, Any] = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "showLoadingIndicator": True,
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "archive",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "archive",
            "configuration": {
                "friendlyName": "Archive",
                "name": "archive",
                "qidoRoot": DICOMWEB,
                "wadoRoot": DICOMWEB,
                "wadoUriRoot": DICOMWEB,
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
                "omitQuotationForMultipartRequest": True,
            },
        }
    ],
}
"""OHIF's `window.config`: one data source, the archive behind this server."""


@contextmanager
def serving(viewer: Path, archive: str) -> Generator[str]:
    """Serve until the end of the block; yields the origin.

    Args:
        viewer: folder of the built viewer.
        archive: URL of the archive, whose DICOMweb is at `/dicom-web` there too.
    """
    handler = partial(_Handler, directory=str(viewer), archive=archive)
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A browser's connections wait open; the test's end need not wait for them.
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that closes hangs up on what it no longer wants."""


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without it the answer's last part waits 40 ms for the acknowledgement of the one before.
    disable_nagle_algorithm = True

    def __init__(self, *arguments: Any, archive: str, **options: Any) -> None:
        self._archive = archive
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """Answer from the archive, with our configuration, or with a file of the viewer's."""
        path = self.path.partition("?")[0]
        if path.startswith(DICOMWEB):
            self._pass_on()
        elif path == "/app-config.js":
            script = f"window.config = {json.dumps(CONFIGURATION)};".encode()
            self._answer(HTTPStatus.OK, "text/javascript", script)
        else:
            if not Path(self.translate_path(path)).is_file():
                # Every place inside the viewer is the viewer's one page.
                self.path = "/index.html"
            super().do_GET()

    def end_headers(self) -> None:
        """Close the page off from other origins, which shared memory between its threads needs."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def _pass_on(self) -> None:
        headers = {name: self.headers[name] for name in _PASSED if name in self.headers}
        # The archive writes absolute addresses into its answers; they shall lead here.
        headers["Forwarded"] = f"host={self.headers['Host']};proto=http"
        request = urllib.request.Request(self._archive + self.path, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                body = answer.read()
                kind = answer.headers.get("Content-Type", "application/octet-stream")
                status = answer.status
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, "text/plain", error.read())
            return
        self._answer(status, kind, body)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
