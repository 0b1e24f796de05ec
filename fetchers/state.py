"""What a fetcher must not forget when its process dies: plan, rate limits, breaker, orders.

One small JSON file a run and source, replaced whole. A rate limit is written before the request
it allows, so that a crash loop cannot ask faster than a process that lives.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from fetchers.breaker import Breaker
from fetchers.bucket import Bucket
from fetchers.plan import FeedState
from fetchers.reply import Validators
from fetchers.report import PollReport
from schema.errors import StorageUnavailable

FORMAT = 1
#: Answers whose validators are kept; addresses that hold an instant come only once.
MOST_VALIDATORS = 64


@dataclass(slots=True)
class FetcherState:
    """All of it.

    ``covered`` says for each series until when published figures reach; ``last`` is the newest
    poll's report; ``validators`` are those of answers that storage has, by address; ``extra``
    belongs to the source.
    """

    feeds: dict[str, FeedState] = field(default_factory=dict)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    breaker: Breaker = field(default_factory=Breaker)
    covered: dict[str, datetime] = field(default_factory=dict)
    last: PollReport | None = None
    validators: dict[str, Validators] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def keep_validators(self, found: Mapping[str, Validators]) -> None:
        """Note validators of answers that storage has; the oldest are forgotten first."""
        for url, validators in found.items():
            self.validators.pop(url, None)
            self.validators[url] = validators
        for url in list(self.validators)[: max(0, len(self.validators) - MOST_VALIDATORS)]:
            del self.validators[url]


_ADAPTER = TypeAdapter(FetcherState)


class StateFile:
    """Where a fetcher's state lies; without a path it lives in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> FetcherState:
        """Read the state; an absent or unreadable file gives a new one.

        Everything in it can be made again at the price of some repeated requests, so a broken
        file is no reason to stop.
        """
        if self._path is None or not self._path.exists():
            return FetcherState()
        try:
            state = _ADAPTER.validate_json(self._path.read_bytes())
        except (ValidationError, OSError):
            return FetcherState()
        return state if state.format == FORMAT else FetcherState()

    def save(self, state: FetcherState) -> None:
        """Replace the file; never leaves half of one.

        Raises:
            StorageUnavailable: It cannot be written. Without it a rate limit would not survive a
                restart, so nothing is asked until it can.
        """
        if self._path is None:
            return
        scratch = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(_ADAPTER.dump_python(state, mode="json")))
            scratch.replace(self._path)
        except OSError as exc:
            msg = f"{self._path} cannot be written ({exc.strerror or exc}); make room for it"
            raise StorageUnavailable(msg, path=str(self._path)) from exc
