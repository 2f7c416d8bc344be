"""A C-STORE sender that costs next to nothing: every byte is made before the clock starts.

A process for benchmarks, told what to do over standard input: ``PREPARE port`` negotiates once and
encodes, ``FRESH`` gives every image a new UID in place, ``GO port images-per-association`` (0 for
one association) sends everything and prints images, bytes, seconds, and latencies in milliseconds.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import time
import uuid
from pathlib import Path

from gatekeeper.send import command, pdu
from gatekeeper.send.part10 import read_header

CALLING_AE, CALLED_AE = "BLAST", "GATEKEEPER"
LARGEST_PDU = 131072
_SOP_INSTANCE = b"\x08\x00\x18\x00"


class Message:
    """One C-STORE request as PDUs, whose SOP Instance UID can be changed in place."""

    def __init__(self, number: int, path: Path, maximum_length: int) -> None:
        with path.open("rb") as file:
            header = read_header(file, path.stat().st_size)
            file.seek(header.offset)
            data = file.read()
        self.context = (str(header.sop_class_uid), str(header.transfer_syntax_uid))
        self._uid = str(header.sop_instance_uid).encode()
        request = command.store_request(
            number % 65536, str(header.sop_class_uid), str(header.sop_instance_uid)
        )
        room = min(maximum_length or LARGEST_PDU, LARGEST_PDU) - 6
        parts = [pdu.command_values(1, request, 0)]
        for start in range(0, len(data), room):
            part = data[start : start + room]
            last = pdu.LAST if start + room >= len(data) else 0
            head = pdu.PDV_HEADER.pack(pdu.P_DATA_TF, len(part) + 6, len(part) + 2, 1, last)
            parts.extend((head, part))
        self.bytes = bytearray(b"".join(parts))
        in_command = self.bytes.index(self._uid)
        element = self.bytes.index(_SOP_INSTANCE, in_command + len(self._uid))
        self._places = (in_command, self.bytes.index(self._uid, element))

    def refresh(self) -> None:
        """Take another UID of the same length."""
        digits = str(uuid.uuid4().int).rjust(39, "7") * 2
        fresh = ("2.25.1" + digits)[: len(self._uid)].encode()
        for place in self._places:
            self.bytes[place : place + len(fresh)] = fresh


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Return the type and the body of the next PDU."""
    header = _exactly(connection, 6)
    return header[0], _exactly(connection, int.from_bytes(header[2:], "big"))


def associate(port: int, context: pdu.Context) -> tuple[socket.socket, int]:
    """Return a connection with an association, and the largest PDU of the peer."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(pdu.associate_request(CALLED_AE, CALLING_AE, {1: context}, LARGEST_PDU))
    kind, body = read_pdu(connection)
    if kind != pdu.ASSOCIATE_AC:
        raise SystemExit(f"the association was not accepted: {pdu.rejection(body)}")
    accepted = pdu.associate_accept(body, {1: context})
    if context not in accepted.contexts:
        raise SystemExit(f"not accepted: {context}")
    return connection, accepted.maximum_length


def release(connection: socket.socket) -> None:
    """Release the association and close the connection."""
    connection.sendall(pdu.release_request())
    read_pdu(connection)
    connection.close()


def send(port: int, messages: list[Message], per_association: int) -> str:
    """Send every message and return what it took."""
    latencies: list[float] = []
    size = 0
    per_association = per_association or len(messages)
    started = time.perf_counter()
    for first in range(0, len(messages), per_association):
        connection, _ = associate(port, messages[0].context)
        for message in messages[first : first + per_association]:
            begun = time.perf_counter()
            connection.sendall(message.bytes)
            _, body = read_pdu(connection)
            status = command.read_response(body[6:]).status
            if status != 0:
                raise SystemExit(f"answered {status}")
            latencies.append(time.perf_counter() - begun)
            size += len(message.bytes)
        release(connection)
    seconds = time.perf_counter() - started
    worst = sorted(latencies)[int(0.99 * (len(latencies) - 1))]
    median = statistics.median(latencies)
    return f"{len(latencies)} {size} {seconds:.6f} {1000 * median:.3f} {1000 * worst:.3f}"


def main() -> None:
    """Serve the benchmark's commands until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=0)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    files = files[: arguments.images or None]
    encoded: dict[int, list[Message]] = {}
    messages: list[Message] = []
    for line in sys.stdin:
        word, *rest = line.split()
        answer = "ok"
        if word == "PREPARE":
            connection, longest = associate(int(rest[0]), Message(1, files[0], 0).context)
            release(connection)
            if longest not in encoded:
                encoded.clear()
                encoded[longest] = [
                    Message(number, path, longest) for number, path in enumerate(files, start=1)
                ]
            messages = encoded[longest]
        elif word == "FRESH":
            for message in messages:
                message.refresh()
        else:
            answer = send(int(rest[0]), messages, int(rest[1]))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise SystemExit("the peer closed the connection")
        data += part
    return data


if __name__ == "__main__":
    main()
