"""One port on 127.0.0.1 that can be closed and opened again without losing its number."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from aiohttp import web

from schema.errors import InputError

HOST = "127.0.0.1"
_SETTLE_S = 0.01


class Listener:
    """Listens for one source.

    While closed, the number is kept by a socket that is bound and does not listen: whoever
    connects is refused, and no other program gets the port.

    Args:
        server: Makes a protocol for each connection.
        port: 0 for any free one.

    Raises:
        InputError: The port is taken.
    """

    def __init__(self, server: web.Server, port: int = 0) -> None:
        self._web = server
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = _bound(port)
        self.port: int = self._held.getsockname()[1]

    async def open(self) -> None:
        """Take connections; nothing to do if it does already."""
        if self._held is None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, sock=self._held)
        self._held = None

    async def refuse(self) -> None:
        """Refuse connections and drop those there are; nothing to do if it does already."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._held = _bound(self.port)
        await self._drop()

    async def close(self) -> None:
        """Give the port back."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._held is not None:
            self._held.close()
            self._held = None
        await self._drop()

    async def _drop(self) -> None:
        # One that was taken just now has no transport yet.
        await asyncio.sleep(_SETTLE_S)
        for connection in self._web.connections:
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(made.close)
        # Connections of before may linger on the number; that is no reason to lose it.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((HOST, port))
        except OSError as exc:
            msg = f"port {port} of {HOST} cannot be taken: {exc.strerror}; choose another port base"
            raise InputError(msg, value=port) from exc
        undo.pop_all()
    return made
