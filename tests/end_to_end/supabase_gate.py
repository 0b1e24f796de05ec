"""A gate between gridpact and a Supabase: it counts, and holds replies back when told to.

A request that is held back has been carried out: the database has the rows, and the sender does
not know it yet. There is no worse moment to be killed at.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import Self

_CHUNK = 65_536


class Gate:
    """Passes TCP connections on to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._open = threading.Event()
        self._open.set()
        self._counting = threading.Lock()
        self.ingests = 0
        """How many requests to store rows have passed, since the start."""
        self.held_back = 0
        """How many parts of replies wait now."""
        gate = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                gate._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def hold(self) -> None:
        """Let requests in and no reply out."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass."""
        self._open.set()

    def _serve(self, near: socket.socket) -> None:
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
