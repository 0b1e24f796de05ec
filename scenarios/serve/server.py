"""``UpstreamServer``: the four sources on four ports, in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from aiohttp import web

from scenarios.answers import SourceAnswers, wire_fault
from scenarios.scenario import Scenario
from scenarios.serve.beckn import BecknDesk, BecknMode
from scenarios.serve.faults import ActiveFaults, FaultPlan
from scenarios.serve.handler import SourceHandler
from scenarios.serve.listener import HOST, Listener
from scenarios.serve.log import AccessLog, AccessRecord
from scenarios.serve.outbox import Outbox
from schema.clock import Clock
from schema.readings import Source
from schema.settings import Settings

_START_S = 30.0
_STOP_S = 2.0
#: How often ports and callbacks are looked after.
_STEP_S = 0.02
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
        faults: What goes wrong, as ``scenarios.serve.faults`` writes it.
        beckn: How the Beckn provider talks.

    Raises:
        InputError: A fault is not understood, or the log cannot be written.
    """

    def __init__(
        self,
        scenario: Scenario,
        clock: Clock,
        *,
        port_base: int | None = None,
        log: Path | None = None,
        sources: Sequence[Source] = tuple(Source),
        faults: str = "",
        beckn: BecknMode = BecknMode(),  # noqa: B008 - frozen
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._port_base = port_base
        self._sources = tuple(sources)
        self._beckn = beckn
        self._faults = ActiveFaults(clock, partial(wire_fault, scenario), FaultPlan.parse(faults))
        self._log = AccessLog(log)
        self._listeners: dict[Source, Listener] = {}
        self._handlers: dict[Source, SourceHandler] = {}
        self._ports = asyncio.Lock()
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
        try:
            ready.result(_START_S)
        except BaseException:
            self.stop()
            raise
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

    def set_faults(self, faults: str) -> None:
        """Put other faults in place of those asked for; in force when this returns.

        Raises:
            InputError: A fault is not understood; nothing has changed.
        """
        self._faults.plan = FaultPlan.parse(faults)
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._follow(), self._loop).result(_STOP_S)

    # -- in the server's thread -------------------------------------------------------------

    async def _serve(self, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._wish = asyncio.Event()
        answers = {source: SourceAnswers(self._scenario, source) for source in self._sources}
        async with AsyncExitStack() as stack:
            try:
                outbox = await self._open(answers, stack)
            except Exception as exc:  # noqa: BLE001 - goes to whoever starts the server
                ready.set_exception(exc)
                return
            ready.set_result(None)
            while not self._wish.is_set():
                await self._follow()
                if outbox is not None:
                    for pending in self._handlers[Source.BECKN].due():
                        outbox.send(pending)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wish.wait(), _STEP_S)

    async def _open(
        self, answers: Mapping[Source, SourceAnswers], stack: AsyncExitStack
    ) -> Outbox | None:
        """Take the ports and listen on all of them, or on none."""
        outbox = None
        for number, (source, own) in enumerate(answers.items()):
            desk = None
            if source is Source.BECKN:
                desk = BecknDesk(self._beckn, own)
                outbox = Outbox(desk, self._clock, self._log)
                stack.push_async_callback(outbox.close)
            handler = SourceHandler(source, own, self._clock, self._log, self._faults, desk)
            server = web.Server(
                handler,
                request_factory=handler.make_request,
                # A client that goes away must end a reply that would never end by itself.
                handler_cancellation=True,
                access_log=None,
            )
            port = 0 if self._port_base is None else self._port_base + number
            self._handlers[source] = handler
            self._listeners[source] = Listener(server, port)
            stack.push_async_callback(self._listeners[source].close)
        await self._follow()
        return outbox

    async def _follow(self) -> None:
        """Close the ports that refuse now, and open the others."""
        async with self._ports:
            for source, listener in self._listeners.items():
                if self._faults.refused(source):
                    await listener.refuse()
                else:
                    await listener.open()
