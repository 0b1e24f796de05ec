"""Whoever no longer listens is told as dead, after the patience that he has, and only then."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agents.listeners import writers
from agents.ray_watch import Part, RayWatch, someone_listens

LOOK_S = 0.01


@dataclass
class Heard:
    """What a watch has said."""

    lost: list[str] = field(default_factory=list)
    stuck: threading.Event = field(default_factory=threading.Event)
    told: threading.Event = field(default_factory=threading.Event)

    def on_lost(self, part: str) -> None:
        self.lost.append(part)
        self.told.set()


@contextmanager
def listening() -> Iterator[Part]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield Part("raylet", "127.0.0.1", server.getsockname()[1])


def watch_of(heard: Heard, *parts: Part, patience_s: float = 0.0, leave_s: float = 10) -> RayWatch:
    return RayWatch(
        parts,
        patience_s=patience_s,
        on_lost=heard.on_lost,
        on_stuck=heard.stuck.set,
        leave_within_s=leave_s,
        look_every_s=LOOK_S,
    )


def test_a_part_that_ends_is_told_once_by_its_name_and_place() -> None:
    heard = Heard()
    with listening() as other:
        with listening() as part:
            watch = watch_of(heard, other, part)
            watch.start()
            assert not heard.told.wait(10 * LOOK_S)
        assert heard.told.wait(5)
        watch.end()
    assert heard.lost == [f"raylet (127.0.0.1:{part.port})"] == [watch.lost]
    assert not heard.stuck.is_set()


def test_a_part_that_is_back_within_the_patience_is_not_told() -> None:
    heard = Heard()
    with listening() as part:
        pass
    watch = watch_of(heard, part, patience_s=30.0)
    watch.start()
    time.sleep(5 * LOOK_S)
    with closing(socket.create_server((part.host, part.port))):
        time.sleep(5 * LOOK_S)
        watch.end()
    assert (heard.lost, watch.lost) == ([], None)


def test_a_program_that_does_not_come_to_its_end_is_told_of() -> None:
    heard = Heard()
    with listening() as part:
        pass
    watch = watch_of(heard, part, leave_s=3 * LOOK_S)
    watch.start()
    assert heard.stuck.wait(5)
    watch.end()


@pytest.mark.parametrize(
    ("error", "listens"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False),
        (TimeoutError(errno.ETIMEDOUT, "no answer"), False),
        (OSError(errno.EHOSTUNREACH, "no way"), False),
        # Ours, not the part's.
        (OSError(errno.EMFILE, "too many open files"), True),
    ],
    ids=["refused", "silent", "no way", "our own"],
)
def test_an_error_of_our_own_side_proves_no_death(
    monkeypatch: pytest.MonkeyPatch, error: OSError, *, listens: bool
) -> None:
    def fail(*_: object, **__: object) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    assert someone_listens(Part("GCS", "127.0.0.1", 1)) is listens


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")
def test_a_process_is_known_by_the_file_it_writes_to(tmp_path: Path) -> None:
    inside = tmp_path / "session"
    beside = tmp_path / "session-2"
    found = {}
    for folder in (inside, beside):
        folder.mkdir()
        with (folder / "out").open("w") as out:
            found[folder] = subprocess.Popen(
                [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=out
            )
    try:
        assert writers(str(inside)) == {found[inside].pid}
    finally:
        for process in found.values():
            process.communicate(b"\n", timeout=10)
