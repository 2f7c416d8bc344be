"""What the processes that share a port inherit: open descriptors, and the settings in one of them.

They are started afresh, not forked, so that none begins with another's locks and threads. Nothing
of it is on a command line but numbers: the settings hold the database's password.
"""

from __future__ import annotations

import json
import os
import select
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from gatekeeper.listen.seats import Table
from gatekeeper.listen.share import Share, SharedPort
from gatekeeper.settings import Settings, section_class

if TYPE_CHECKING:
    from storage.recorder import Recorder

RECORDER_ROLE = "listen-recorder"
"""What the recorder is called in the log."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """Descriptors of one process of several.

    Attributes:
        process: its number, from 1.
        plain: the plain port's socket; None when none is open.
        secured: the socket of the port for TLS; None when none is open.
        table: memory of the table of seats.
        settings: memory that holds the settings.
        ready: pipe to write to once connections are taken.
        life: pipe whose other end the parent holds while it lives.
        control: the listeners' end of the recorder's control socket; None without a recorder.
        recording: the recorder's end.
    """

    process: int
    plain: int | None
    secured: int | None
    table: int
    settings: int
    ready: int
    life: int
    control: int | None = None
    recording: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `text`, from `str`, says."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that the process has to be given."""
        some = (self.plain, self.secured, self.control, self.recording)
        given = (one for one in some if one is not None)
        return (*given, self.table, self.settings, self.ready, self.life)

    @property
    def role(self) -> str:
        """What the process is called in the log."""
        return f"listen-{self.process}"

    def read_settings(self) -> Settings:
        """Return the settings that the parent started with."""
        text = os.pread(self.settings, os.fstat(self.settings).st_size, 0)
        sections: dict[str, dict[str, Any]] = json.loads(text)
        return Settings(**{name: _section(name, values) for name, values in sections.items()})

    def share(self, settings: Settings) -> Share:
        """Take up the ports and the table."""
        listen = settings.listen
        table = Table(
            self.table, listen.maximum_connections, listen.maximum_associations, self.process
        )
        ports = [
            None if one is None else SharedPort(socket.socket(fileno=one), table)
            for one in (self.plain, self.secured)
        ]
        return Share(ports[0], ports[1], table, self._recorder(settings))

    def _recorder(self, settings: Settings) -> Recorder | None:
        if self.control is None or self.recording is None:
            return None
        # Not for the parent, which needs no database.
        from storage.recorder import Recorder

        # Once no recorder and no parent holds it, handing in fails at once.
        os.close(self.recording)
        wait = settings.spool.wait_seconds
        return Recorder(socket.socket(fileno=self.control), wait)

    def recorder_end(self) -> socket.socket:
        """Return the recorder's end of the control socket, and close all else: the ports are not
        its own to keep open, and by the listeners' end it tells when all of them are gone.

        Raises:
            ValueError: if no recorder is wanted.
        """
        if self.recording is None:
            raise ValueError("no control socket was inherited")
        for one in self.descriptors:
            if one != self.recording:
                os.close(one)
        return socket.socket(fileno=self.recording)

    def say_ready(self) -> None:
        """Tell the parent that connections are taken."""
        os.write(self.ready, bytes((self.process,)))

    def is_orphan(self) -> bool:
        """Return whether the parent is gone, however it ended."""
        poll = select.poll()
        poll.register(self.life, select.POLLIN)
        return bool(poll.poll(0))


def _section(name: str, values: dict[str, Any]) -> Any:
    """Return a section of the settings; JSON knows lists only where they have tuples."""
    known = {key: tuple(one) if isinstance(one, list) else one for key, one in values.items()}
    return section_class(name)(**known)


def settings_in_memory(settings: Settings) -> int:
    """Return the descriptor of memory that holds the settings.

    Raises:
        OSError: if there is none.
    """
    memory = os.memfd_create("gatekeeper-settings")
    with os.fdopen(os.dup(memory), "w", encoding="utf-8") as file:
        json.dump(asdict(settings), file)
    return memory
