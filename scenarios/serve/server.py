"""``UpstreamServer``: the four sources on four ports, in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from aiohttp import web

from scenarios.scenario import Scenario
from scenarios.serve.handler import SourceHandler
from scenarios.serve.listener import HOST, Listener
from scenarios.serve.log import AccessLog, AccessRecord
from schema.clock import Clock
from schema.readings import Source
from schema.settings import Settings

_START_S = 30.0
_STOP_S = 2.0
#: Where each API lives behind its host, taken from the addresses of the real ones.
_BASE_PATHS = {
    source: urlsplit(str(Settings.model_fields[f"{source.value}_url"].default)).path
    for source in Source
}


class UpstreamServer:
    """Serves a scenario over HTTP until stopped; a context manager too.

    It runs in a thread of its own, so that tests may block, and be asynchronous, as they like.

    Args:
        scenario: What is answered from.
        clock: Decides what is published; it may be moved while the server runs.
        port_base: First of the ports, one a source in the order of ``sources``; any free ones
            if None.
        log: A file to which the access log is appended as JSON lines.
        sources: Which sources to serve.
    """

    def __init__(
        self,
        scenario: Scenario,
        clock: Clock,
        *,
        port_base: int | None = None,
        log: Path | None = None,
        sources: Sequence[Source] = tuple(Source),
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._port_base = port_base
        self._sources = tuple(sources)
        self._log = AccessLog(log)
        self._listeners: dict[Source, Listener] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wish: asyncio.Event | None = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> Self:
        """Take the ports and serve; returns when all of them listen.

        Raises:
            InputError: A port is taken.
        """
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="upstream-server", daemon=True
        )
        self._thread.start()
        ready.result(_START_S)
        return self

    def stop(self) -> None:
        """Drop all connections, give the ports back and end the thread; may be called twice."""
        if self._loop is not None and self._wish is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wish.set)
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None
        self._log.close()

    @property
    def urls(self) -> dict[Source, str]:
        """Base address of each source, as its setting takes it."""
        return {
            source: f"http://{HOST}:{listener.port}{_BASE_PATHS[source]}"
            for source, listener in self._listeners.items()
        }

    @property
    def environment(self) -> dict[str, str]:
        """The addresses by the names of their settings in the environment."""
        return {f"GRIDPACT_{source.name}_URL": url for source, url in self.urls.items()}

    @property
    def records(self) -> tuple[AccessRecord, ...]:
        """Every request so far, in the order of arrival."""
        return self._log.records()

    # -- in the server's thread -------------------------------------------------------------

    async def _serve(self, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wish = asyncio.Event()
        try:
            try:
                await self._open()
            except Exception as exc:  # noqa: BLE001 - goes to whoever starts the server
                ready.set_exception(exc)
                return
            ready.set_result(None)
            await self._wish.wait()
        finally:
            for listener in self._listeners.values():
                await listener.close()

    async def _open(self) -> None:
        for number, source in enumerate(self._sources):
            handler = SourceHandler(self._scenario, source, self._clock, self._log)
            server = web.Server(
                handler,
                request_factory=handler.make_request,
                # A client that goes away must end a reply that would never end by itself.
                handler_cancellation=True,
                access_log=None,
            )
            port = 0 if self._port_base is None else self._port_base + number
            self._listeners[source] = Listener(server, port)
        for listener in self._listeners.values():
            await listener.open()
