"""The role `listen`: one process, or several that share its ports (``listen.processes``)."""

from __future__ import annotations

from gatekeeper.settings import Settings


def serve(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT; the body of `gatekeeper listen`.

    Raises:
        SystemExit: with a failure when it could not start or must be started afresh.
    """
    if settings.listen.processes > 1:
        from gatekeeper.listen import prefork

        prefork.serve(settings)
    else:
        from gatekeeper.listen import process

        process.serve(settings)
