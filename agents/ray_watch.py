"""Sees that Ray itself has died: a raylet or a GCS at whose port nobody listens any more.

Ray does not tell. A call of an actor whose raylet is gone waits for ever or to its own limit, and
what needs the GCS waits for a minute and then ends the process without a word of ours. So a
thread knocks at both ports, and says so once nobody has opened for some time.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
KNOCK_WITHIN_S = 2.0
#: Nobody starts the parts of our own cluster again.
OWN_PATIENCE_S = 1.0
#: A GCS that keeps its state outside of itself comes back, and Ray waits a minute for it.
JOINED_PATIENCE_S = 30.0
#: How long the program may take to come to its end by itself.
LEAVE_WITHIN_S = 30.0
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of Ray that everything else needs."""

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.name} ({self.host}:{self.port})"


class RayWatch:
    """Watches the parts of Ray that this program cannot do without.

    Args:
        parts: What to watch.
        patience_s: For how long nobody must have answered.
        on_lost: Called once, in a thread of the watch, with the name of the part.
        on_stuck: Called when ``end`` was not within ``leave_within_s`` of that.
        listens: Says whether anybody listens at a part's port.
        leave_within_s: See there.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        patience_s: float,
        on_lost: Callable[[str], None],
        on_stuck: Callable[[], None],
        listens: Callable[[Part], bool] | None = None,
        leave_within_s: float = LEAVE_WITHIN_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._parts = tuple(parts)
        self._patience_s = patience_s
        self._on_lost, self._on_stuck = on_lost, on_stuck
        self._listens = listens or someone_listens
        self._leave_within_s, self._look_every_s = leave_within_s, look_every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray-watch", daemon=True)
        self.lost: str | None = None
        """The part that has died."""

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def end(self) -> None:
        """Watch no longer; what was seen until now stands in ``lost``."""
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        silent_since: dict[Part, float] = {}
        while not self._over.wait(self._look_every_s):
            for part in self._parts:
                if self._listens(part):
                    silent_since.pop(part, None)
                    continue
                since = silent_since.setdefault(part, time.monotonic())
                if time.monotonic() - since < self._patience_s:
                    continue
                self.lost = str(part)
                log.error("Ray's %s has died", part)
                self._on_lost(self.lost)
                if not self._over.wait(self._leave_within_s):
                    self._on_stuck()
                return


def someone_listens(part: Part) -> bool:
    """Knock at a port; an error of our own side, such as too many open files, proves nothing."""
    try:
        socket.create_connection((part.host, part.port), timeout=KNOCK_WITHIN_S).close()
    except (ConnectionError, TimeoutError):
        return False
    except OSError as exc:
        return exc.errno not in _NO_WAY
    return True


def interrupt() -> None:
    """Wake this program as Ctrl-C does: of all signals it alone ends a wait inside of Ray."""
    os.kill(os.getpid(), signal.SIGINT)


def leave(text: str) -> None:
    """End this process at once, with a last word; for one that waits inside of Ray."""
    sys.stderr.write(f"error: {text}\n")
    sys.stderr.flush()
    os._exit(1)
