"""A gate between gridpact and a Supabase: it counts, holds replies back, and is away when told to.

A request that is held back has been carried out: the database has the rows, and the sender does
not know it yet. There is no worse moment to be killed at.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from enum import StrEnum
from typing import Self

_CHUNK = 65_536
_UNAVAILABLE = b"<html><body>upstream connect error</body></html>"
_REPLY_503 = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_UNAVAILABLE), _UNAVAILABLE)
)
#: Closing then sends a reset in place of a farewell.
_NO_LINGER = struct.pack("ii", 1, 0)


class Absence(StrEnum):
    """How a Supabase can be away."""

    REFUSE = "refuse"
    """Nobody listens."""
    HANG = "hang"
    """Connections are taken, and nothing is ever said."""
    RESET = "reset"
    UNAVAILABLE = "unavailable"
    """503, in HTML: a proxy without anything behind it."""


class Gate:
    """Passes TCP connections on to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._open = threading.Event()
        self._open.set()
        self._counting = threading.Lock()
        self._near: set[socket.socket] = set()
        self._absence: Absence | None = None
        self._back = threading.Event()
        self.ingests = 0
        """How many requests to store rows have passed, since the start."""
        self.held_back = 0
        """How many parts of replies wait now."""
        self.turned_away = 0
        """How many connections came in vain; those that were refused are not seen."""
        self._listen(0)
        self._port = int(self._server.server_address[1])

    def _listen(self, port: int) -> None:
        gate = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                gate._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._listening = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._back.set()
        self._close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def hold(self) -> None:
        """Let requests in and no reply out."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass."""
        self._open.set()

    def leave(self, how: Absence) -> None:
        """Be away from now on; connections that stand are cut."""
        self._absence = how
        self._back.set()  # those who hang in an absence before this one
        self._back = threading.Event()
        if how is Absence.REFUSE:
            self._close()
        elif not self._listening:
            self._listen(self._port)
            self._thread.start()
        with self._counting:
            standing = list(self._near)
        for near in standing:
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Pass connections on again."""
        self._absence = None
        self._back.set()
        if not self._listening:
            self._listen(self._port)
            self._thread.start()

    def _close(self) -> None:
        if self._listening:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._listening = False

    def _serve(self, near: socket.socket) -> None:
        absence, back = self._absence, self._back
        with self._counting:
            self._near.add(near)
            self.turned_away += absence is not None
        try:
            if absence is None:
                self._pass_on(near)
            else:
                _disappoint(near, absence, back)
        finally:
            with self._counting:
                self._near.discard(near)

    def _pass_on(self, near: socket.socket) -> None:
        with socket.create_connection(self._target) as far:
            back = threading.Thread(target=self._reply, args=(far, near), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while data := near.recv(_CHUNK):
                    with self._counting:
                        self.ingests += data.count(b"POST /rest/v1/rpc/ingest")
                    far.sendall(data)
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)
            back.join()

    def _reply(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(_CHUNK):
                with self._counting:
                    self.held_back += 1
                self._open.wait()
                with self._counting:
                    self.held_back -= 1
                near.sendall(data)
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)


def _disappoint(near: socket.socket, absence: Absence, back: threading.Event) -> None:
    """Treat a connection as somebody who is away does."""
    with contextlib.suppress(OSError):
        if absence is Absence.HANG:
            back.wait()
        elif absence is Absence.UNAVAILABLE:
            near.recv(_CHUNK)
            near.sendall(_REPLY_503)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
