"""Every error gridpact raises on purpose.

    GridpactError
      ConfigurationError          wrong or missing setting; exit code 2
      InputError                  a user's file or argument is wrong; exit code 2
        ScenarioError             a scenario folder is wrong
        InfeasibleWorkload        a workload that can never run as described
      SourceError                 one of the four sources; ``source``, ``url`` without secrets
        SourceUnavailable         network, 5xx (retry)
        SourceThrottled           429 (retry, ``retry_after_s``)
        SourceRejected            the source refused the request
        SourcePayloadInvalid      the reply is not what the source documents
        NotYetPublished           ask again later (retry, no fault)
      DataError                   what we hold is not fit for use
        DataGap  StaleData  ImplausibleValue
      StorageError
        StorageUnavailable        (retry; rows stay in the spool)
        ConstraintViolated        a row the database will never take; ``constraint``
        SchemaBehind              migrations are missing
        SpoolFull                 the producer must wait (retry)
        RecordConflict            same id and version, other content
      NegotiationError
        ProtocolViolation  ProposalExpired  InvariantViolated
      AgentUnavailable            an actor did not answer (retry)
      ClusterLost                 Ray itself has died, and every actor with it

A constructor takes the message first and every other argument as an optional keyword, because
an exception that crosses Ray processes is rebuilt from ``args`` alone; a required second
argument would arrive as ``UnserializableException``.
"""

from __future__ import annotations

from typing import ClassVar


class GridpactError(Exception):
    """Base of all; ``retryable`` is the only thing retry code reads."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the message, then restore the details."""
        return (_rebuild, (type(self), self.message, self.details))

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[GridpactError], message: str, details: dict[str, object]) -> GridpactError:
    return cls(message, **details)


class ConfigurationError(GridpactError):
    """A setting is wrong or missing."""

    exit_code = 2


class InputError(GridpactError):
    """A file or argument given by the user is wrong; details may hold file, field, value."""

    exit_code = 2


class ScenarioError(InputError):
    """A scenario folder is wrong; details may hold path, field, value."""


class InfeasibleWorkload(InputError):
    """A workload that can never run as described; details hold the binding constraint."""


class SourceError(GridpactError):
    """Something about one source; details may hold source, url (without secrets), status."""


class SourceUnavailable(SourceError):
    """The source could not be reached or failed (network, timeout, 5xx)."""

    retryable = True


class SourceThrottled(SourceError):
    """The source asked us to slow down; details may hold retry_after_s."""

    retryable = True


class SourceRejected(SourceError):
    """The source understood and refused; the same request will be refused again."""


class SourcePayloadInvalid(SourceError):
    """The reply as a whole is not what the source documents; details may hold payload."""


class NotYetPublished(SourceError):
    """The figure does not exist yet; ask again later. Not a fault."""

    retryable = True


class DataError(GridpactError):
    """Data we hold is not fit for the use asked of it."""


class DataGap(DataError):
    """Some part of the interval is covered by no reading; details may hold gaps."""


class StaleData(DataError):
    """The newest reading is older than its limit."""


class ImplausibleValue(DataError):
    """A figure outside physical bounds."""


class StorageError(GridpactError):
    """Something about the spool or Supabase."""


class StorageUnavailable(StorageError):
    """Supabase cannot be reached now; rows stay in the spool."""

    retryable = True


class ConstraintViolated(StorageError):
    """A row that the database will never take; details hold code, constraint, table."""


class SchemaBehind(StorageError):
    """The database lacks migrations this program needs."""

    exit_code = 2


class SpoolFull(StorageError):
    """The spool's door is shut; the producer must wait. Nothing accepted is dropped."""

    retryable = True


class RecordConflict(StorageError):
    """A known id and version came again with other content: a fault in an id rule."""


class NegotiationError(GridpactError):
    """Something about a negotiation."""


class ProtocolViolation(NegotiationError):
    """A message that is not allowed at this point of the conversation."""


class ProposalExpired(NegotiationError):
    """An answer that came after its reply_by."""


class InvariantViolated(NegotiationError):
    """The outcome breaks one of the market's invariants; details hold the rows."""


class AgentUnavailable(GridpactError):
    """An actor did not answer in time; made at the shell from Ray's own errors."""

    retryable = True


class ClusterLost(GridpactError):
    """Ray's raylet or GCS has died, and with it every actor; details hold the part."""
