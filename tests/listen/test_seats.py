"""Seats: a limit that holds for several processes together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from gatekeeper.listen.seats import Table, new_memory

CONNECTIONS, ASSOCIATIONS = 40, 8
GRABBING = """
import sys
from gatekeeper.listen.seats import Table
memory, process = map(int, sys.argv[1:])
table = Table(memory, 40, 8, process)
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
seats = table.connections
print(*(sum(not seats.take(host, 11) for _ in range(200)) for host in "abcdef"))
"""


@contextmanager
def tables(count: int) -> Generator[list[Table]]:
    """Give the table as each of `count` processes has it, after that of the parent."""
    memory = new_memory(CONNECTIONS, ASSOCIATIONS)
    try:
        yield [Table(memory, CONNECTIONS, ASSOCIATIONS, number) for number in range(count + 1)]
    finally:
        os.close(memory)


def test_a_limit_holds_for_all_processes_together() -> None:
    """In total and by host; a seat that one leaves is free for another."""
    with tables(2) as (_, one, two):
        assert [one.connections.take("a", 3), two.connections.take("a", 3)] == [0, 0]
        assert one.connections.take("a", 2) == 2
        assert two.connections.take("a", 3) == 0
        assert one.connections.take("a", 3) == 3
        two.connections.leave("a")
        assert one.connections.take("a", 3) == 0
        others = [two.connections.take(f"host {number}", 1) for number in range(50)]
        assert others == [0] * 37 + [CONNECTIONS] * 13


def test_seats_of_one_kind_are_not_those_of_another() -> None:
    """Associations run out by themselves."""
    with tables(1) as (_, one):
        taken = [one.associations.take("", ASSOCIATIONS) for _ in range(ASSOCIATIONS + 1)]
        assert taken == [0] * ASSOCIATIONS + [ASSOCIATIONS]
        assert one.connections.take("a", 1) == 0


def test_a_process_leaves_only_seats_of_its_own() -> None:
    """The same host has a seat of another process, which stays taken."""
    with tables(2) as (_, one, two):
        assert one.connections.take("a", 1) == 0
        two.connections.leave("a")
        assert two.connections.take("a", 1) == 1


def test_the_seats_of_a_dead_process_are_freed() -> None:
    """Of both kinds, and nobody else's."""
    with tables(2) as (parent, one, two):
        for table in (one, two):
            table.say_up(True)
            for _ in range(3):
                assert table.connections.take("a", 9) == table.associations.take("", 9) == 0
        parent.free(1)
        assert two.connections.loads()[1:3] == [0, 3]
        assert two.associations.loads()[1:3] == [0, 3]


def test_whoever_has_fewer_connections_and_is_up_has_room() -> None:
    """A process that is down, or equally busy, is not waited for."""
    with tables(2) as (parent, one, two):
        one.say_up(True)
        assert one.connections.take("a", 9) == 0
        assert not one.others_have_room()
        two.say_up(True)
        assert one.others_have_room()
        assert not two.others_have_room()
        assert two.connections.take("a", 9) == 0
        assert not one.others_have_room()
        two.connections.leave("a")
        parent.free(2)
        assert not one.others_have_room()


def test_processes_that_grab_at_once_get_no_more_than_there_is() -> None:
    """Four of them; every seat is given once."""
    memory = new_memory(CONNECTIONS, ASSOCIATIONS)
    grabbing = [
        subprocess.Popen(
            [sys.executable, "-c", GRABBING, str(memory), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[memory],
        )
        for number in range(1, 5)
    ]
    try:
        for process in grabbing:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in grabbing:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        got = [[int(count) for count in process.communicate(timeout=60)[0].split()]
               for process in grabbing]  # fmt: skip
    finally:
        for process in grabbing:
            process.kill()
            process.wait()
        os.close(memory)
    assert sum(map(sum, got)) == CONNECTIONS
    assert all(sum(of_host) <= 11 for of_host in zip(*got, strict=True))
