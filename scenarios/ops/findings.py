"""What one check found, how it was timed, and how it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from schema.clock import Clock
from schema.errors import (
    ConfigurationError,
    GridpactError,
    SchemaBehind,
    SourceRejected,
    SourceThrottled,
    SourceUnavailable,
    SpoolFull,
    StorageUnavailable,
)


class CheckStatus(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """It works, and somebody should look at it."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says; ``hint`` is what to do about it, empty where there is nothing to do."""

    status: CheckStatus
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A finding with its name and how long it took."""

    name: str
    status: CheckStatus
    detail: str
    seconds: float
    hint: str

    def to_json(self) -> dict[str, Any]:
        """Give ``name status detail seconds hint``."""
        return asdict(self)


def ok(detail: str) -> Finding:
    """Say that all is well."""
    return Finding(CheckStatus.OK, detail)


def warn(detail: str, hint: str) -> Finding:
    """Say that something deserves a look."""
    return Finding(CheckStatus.WARN, detail, hint)


def fail(detail: str, hint: str) -> Finding:
    """Say that something does not work."""
    return Finding(CheckStatus.FAIL, detail, hint)


async def timed(name: str, work: Callable[[], Awaitable[Finding]], clock: Clock) -> CheckResult:
    """Run one check; whatever it raises is its finding."""
    started_s = clock.monotonic_s()
    try:
        found = await work()
    except GridpactError as exc:
        found = fail(exc.message, hint_for(exc))
    except Exception as exc:  # noqa: BLE001  # one check must not keep the others from being made
        found = fail(
            f"the check itself failed: {type(exc).__name__}: {exc}",
            "this is a fault of gridpact; report it with this line",
        )
    seconds = round(clock.monotonic_s() - started_s, 3)
    return CheckResult(name, found.status, found.detail, seconds, found.hint)


def hint_for(error: GridpactError) -> str:
    """Say what to do about an error, by its kind; errors of settings say so themselves."""
    match error:
        case SchemaBehind():
            return "run `run_cluster.py db migrate`, or paste `db print` into the SQL editor"
        case ConfigurationError():
            return "see `run_cluster.py config show` for the settings in force and their origin"
        case SourceThrottled():
            return "wait some minutes; something else on this address asks the source too"
        case SourceRejected():
            return "check the address of the source in `run_cluster.py config show`"
        case SourceUnavailable():
            return "see that this machine reaches the source: network, proxy, firewall"
        case SpoolFull():
            return "free the disk under the state folder"
        case StorageUnavailable():
            return "see that the address is right, the project is not paused and the network works"
        case _:
            return "see docs/troubleshooting.md for this message"


def worst(results: list[CheckResult]) -> CheckStatus:
    """Give the worst status of all."""
    order = [CheckStatus.FAIL, CheckStatus.WARN]
    found = {result.status for result in results}
    return next((status for status in order if status in found), CheckStatus.OK)
