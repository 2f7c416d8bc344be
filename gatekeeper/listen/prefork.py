"""Several processes that serve one port: the parent, which binds it and looks after them.

Every process waits on the same listening socket, so a connection goes to whoever is idle, and one
that waits while a process dies is taken by another. On SQLite, which has one writer at a time, one
process more enters what all of them receive (`storage.recorder`). The parent serves nobody itself:
it starts the processes, starts one that dies again by the rules of `gatekeeper.supervise`, frees
what it had counted, and ends them all. It binds the port, and the first process that is ready opens
it.

A process that loses its parent, however that ended, ends in order as if it had been told to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from gatekeeper.errors import ConfigurationError
from gatekeeper.listen.inherited import RECORDER_ROLE, Inherited, settings_in_memory
from gatekeeper.listen.seats import Table, new_memory
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import Settings
from gatekeeper.supervise import Role, Supervisor
from gatekeeper.tls import Credentials

PROCESS = ("gatekeeper.listen.process",)
RECORDER = ("gatekeeper.listen.recording",)
_ENDING_SECONDS = 8.0
"""For what a process does at its end, besides waiting for open associations."""

log = get_logger()


def serve(settings: Settings, module: Sequence[str] = PROCESS) -> None:
    """Run ``listen.processes`` listeners until SIGTERM or SIGINT.

    Args:
        settings: `listen` and `tls` are used, and all are handed on.
        module: what a process runs, with its first arguments.

    Raises:
        SystemExit: with a failure when a port cannot be opened.
    """
    listen = settings.listen
    try:
        ports = _bound(settings)
        seats = new_memory(listen.maximum_connections, listen.maximum_associations)
        told, ready = os.pipe()
        life, held = os.pipe()
        kept = settings_in_memory(settings)
    except (ConfigurationError, OSError) as error:
        log.error("listener_not_started", error=error_name(error), role="listen")
        raise SystemExit(1) from None
    table = Table(seats, listen.maximum_connections, listen.maximum_associations, 0)
    numbers = [None if port is None else port.fileno() for port in ports]
    control = _control_pair() if settings.database.url.startswith("sqlite") else ()
    ends = [one.fileno() for one in control]
    processes = [
        Inherited(number, numbers[0], numbers[1], seats, kept, ready, life, *ends)
        for number in range(1, listen.processes + 1)
    ]
    by_role = {one.role: one.process for one in processes}

    def close_ports() -> None:
        # And the listeners' end of the control socket: the recorder ends once nobody holds it.
        for port in (*ports, *control[:1]):
            if port is not None:
                port.close()

    def free(role: Role, _code: int) -> None:
        if role.name in by_role:
            table.free(by_role[role.name])

    supervisor = Supervisor(
        _roles(processes, module),
        name="listen",
        inherit=processes[0].descriptors,
        stop_seconds=listen.stop_seconds + _ENDING_SECONDS,
        on_exit=free,
        before_end=close_ports,
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(
        target=_tell, args=(told, set(by_role.values()), ports, settings), daemon=True
    ).start()
    supervisor.run()
    os.close(held)
    for end in control[1:]:
        end.close()


def _control_pair() -> tuple[socket.socket, socket.socket]:
    """Return the listeners' end of the recorder's control socket, and the recorder's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _roles(processes: Sequence[Inherited], module: Sequence[str]) -> list[Role]:
    """Return the listeners as roles, and the recorder, where they have one."""
    first = processes[0]
    recorders = [] if first.control is None else [(RECORDER_ROLE, RECORDER, first)]
    listeners = [(one.role, module, one) for one in processes]
    return [
        Role(name, (sys.executable, "-P", "-m", *code, str(inherited)))
        for name, code, inherited in (*recorders, *listeners)
    ]


def _bound(settings: Settings) -> list[socket.socket | None]:
    """Return the sockets of the plain port and of the one for TLS, bound; None for no port.

    Raises:
        ConfigurationError: if a file of `tls` cannot be used, or no port is to be opened.
        OSError: if a port cannot be bound.
    """
    listen = settings.listen
    if not listen.plain and not listen.tls_port:
        raise ConfigurationError("listen.plain", "false, and no listen.tls_port: no port")
    if listen.tls_port:
        Credentials(settings.tls).check(server=True)
    with contextlib.ExitStack() as stack:
        ports: list[socket.socket | None] = [
            stack.enter_context(_bind(listen.host, listen.port)) if listen.plain else None,
            stack.enter_context(_bind(listen.host, listen.tls_port)) if listen.tls_port else None,
        ]
        stack.pop_all()
        return ports


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _tell(
    told: int, starting: set[int], ports: Sequence[socket.socket | None], settings: Settings
) -> None:
    """Log that the listener is up, once every process has said so."""
    numbers = [0 if port is None else port.getsockname()[1] for port in ports]
    while starting:
        starting.difference_update(os.read(told, 64))
    log.info(
        "listening",
        role="listen",
        called_ae=settings.listen.ae_title,
        address=settings.listen.host,
        port=numbers[0] or numbers[1],
        count=settings.listen.processes,
    )
    if numbers[1]:
        log.info("listening_tls", role="listen", port=numbers[1])
    while os.read(told, 64):
        # A process that was started again has nothing to add.
        continue
