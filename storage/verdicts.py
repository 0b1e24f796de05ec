"""Judge a failed request to Supabase by its code: whose fault, and what to do with the rows.

Source: PostgreSQL's appendix A (SQLSTATE classes) and PostgREST's error reference. The HTTP
status decides only where a reply carries no code, since servers differ in the status they give
the same error.
"""

from __future__ import annotations

from enum import StrEnum

from schema.errors import (
    ConfigurationError,
    ConstraintViolated,
    GridpactError,
    SchemaBehind,
    StorageError,
    StorageUnavailable,
)


class Verdict(StrEnum):
    """What to do."""

    RETRY = "retry"
    """Passing: the same batch again, later."""
    SHRINK = "shrink"
    """It took too long: half the batch again, later."""
    STOP = "stop"
    """Wrong key or missing grant: keep the rows and tell."""
    SCHEMA = "schema"
    """The database lacks migrations: keep the rows and tell."""
    BUG = "bug"
    """A fault of ours in the request: keep the rows and tell loudly."""
    ORPHAN = "orphan"
    """The parent row is missing: wait for it."""
    POISON = "poison"
    """Some row will never be taken: find it and put it aside."""


_EXACT = {
    "401": Verdict.STOP,
    "403": Verdict.STOP,
    "42501": Verdict.STOP,
    "PGRST202": Verdict.SCHEMA,
    "PGRST204": Verdict.SCHEMA,
    "PGRST205": Verdict.SCHEMA,
    "42P01": Verdict.SCHEMA,
    "42703": Verdict.SCHEMA,
    "42883": Verdict.SCHEMA,
    "21000": Verdict.BUG,
    "42702": Verdict.BUG,
    "MAX_PARAMETERS_EXCEEDED": Verdict.BUG,
    "23503": Verdict.ORPHAN,
    "57014": Verdict.SHRINK,
    "40001": Verdict.RETRY,
    "40P01": Verdict.RETRY,
    "55P03": Verdict.RETRY,
    # A hosted database that is out of disk turns read-only until it has been enlarged.
    "25006": Verdict.RETRY,
    "408": Verdict.RETRY,
    "425": Verdict.RETRY,
    "429": Verdict.RETRY,
    "23502": Verdict.POISON,
    "23505": Verdict.POISON,
    "23514": Verdict.POISON,
    "P0001": Verdict.POISON,
    "PGRST102": Verdict.POISON,
    "413": Verdict.POISON,
}
_PREFIX = (
    ("PGRST00", Verdict.RETRY),
    ("PGRST30", Verdict.STOP),
    ("08", Verdict.RETRY),
    ("28", Verdict.STOP),
    ("53", Verdict.RETRY),
    ("57P", Verdict.RETRY),
    ("22", Verdict.POISON),
)
_SQLSTATE_LENGTH = 5


def judge(code: str | None, http_status: int | None, message: str) -> Verdict:
    """Say what to do after a failed request.

    Args:
        code: SQLSTATE, PostgREST's code, or the HTTP status as text where there was no other.
        http_status: Status of the reply, where known.
        message: The error's text; read only for the gateway's "Invalid API key", which has no
            code.
    """
    if code is None and "api key" in message.lower():
        return Verdict.STOP
    if code is not None:
        if (exact := _EXACT.get(code)) is not None:
            return exact
        if len(code) == _SQLSTATE_LENGTH or code.startswith("PGRST"):
            for prefix, verdict in _PREFIX:
                if code.startswith(prefix):
                    return verdict
    status = int(code) if code is not None and code.isdecimal() and len(code) == 3 else http_status  # noqa: PLR2004
    if status is not None:
        if (by_status := _EXACT.get(str(status))) is not None:
            return by_status
        if status >= 500:  # noqa: PLR2004
            return Verdict.RETRY
    return Verdict.BUG


_ADVICE = {
    Verdict.RETRY: "Supabase cannot take rows now",
    Verdict.SHRINK: "Supabase took too long over a batch",
    Verdict.STOP: (
        "Supabase refused our key or right; check SUPABASE_KEY (it must be the secret key) and "
        "the grants of the table it names"
    ),
    Verdict.SCHEMA: "the database lacks migrations; run `run_cluster.py db migrate`",
    Verdict.BUG: "Supabase refused the form of a batch, which is a fault of gridpact",
    Verdict.ORPHAN: "a row's parent is not in the database",
    Verdict.POISON: "the database will never take this row",
}
_CLASSES: dict[Verdict, type[GridpactError]] = {
    Verdict.RETRY: StorageUnavailable,
    Verdict.SHRINK: StorageUnavailable,
    Verdict.STOP: ConfigurationError,
    Verdict.SCHEMA: SchemaBehind,
    Verdict.BUG: StorageError,
    Verdict.ORPHAN: ConstraintViolated,
    Verdict.POISON: ConstraintViolated,
}


def store_error(
    verdict: Verdict,
    message: str,
    *,
    code: str | None = None,
    http_status: int | None = None,
    detail: str | None = None,
    retry_after_s: float | None = None,
) -> GridpactError:
    """Make the error that a store raises; its details carry all that the drain decides by."""
    said = f" [{code}]" if code else ""
    return _CLASSES[verdict](
        f"{_ADVICE[verdict]}{said}: {message}",
        verdict=verdict.value,
        code=code,
        http_status=http_status,
        detail=detail,
        retry_after_s=retry_after_s,
    )


def verdict_of(error: GridpactError) -> Verdict:
    """Read the verdict back from an error that a store raised."""
    found = error.details.get("verdict")
    if isinstance(found, str):
        return Verdict(found)
    return Verdict.RETRY if error.retryable else Verdict.BUG
