"""What an orchestrator must know to go on, as bytes.

A run's state holds several objects a workload, and to pickle them one by one takes long. Here they
are written as columns of plain values; what is small is pickled as it is. Reading makes objects of
our own types and of nothing else.
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar

import numpy as np

from agents.core.accounting import Account
from agents.core.book import Registration
from agents.core.digest import RunDigest
from agents.core.ledger import Contract, Ledger, Segment
from agents.core.run_state import Accounts, Booked, RunState
from agents.core.view import GridView
from schema.errors import StorageError
from schema.orders import WindowUpdate

R = TypeVar("R")

#: Rises when a column changes its meaning; bytes of another form are refused.
FORM = 1
_PACKAGES = ("agents.", "schema.", "numpy.", "datetime.", "collections.")
_SPECIAL = frozenset({"regions", "segments", "baseline", "booked"})
#: What reading other bytes may raise.
_NO_CHECKPOINT = (
    zlib.error,
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Saved(Generic[R]):
    """State and digest after a call, and what was answered to it.

    ``number`` counts the calls; ``call`` tells a repeated one from the next.
    """

    number: int
    call: tuple[str, ...]
    report: R
    state: RunState
    digest: RunDigest


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """What a tick rests on, kept once it has had an effect outside.

    An order changes the window it is for, so that the grid would tell another story to the next
    try.
    """

    call: tuple[str, ...]
    view: GridView
    registrations: tuple[Registration, ...]
    updates: tuple[WindowUpdate, ...]


def pack(saved: Saved[Any]) -> bytes:
    """Write what must not be forgotten."""
    state = saved.state
    contracts = state.ledger.contracts
    accounts = [state.accounts[contract.key] for contract in contracts]
    rest = replace(saved, state=replace(state, ledger=Ledger(), accounts={}))
    document = (
        FORM,
        rest,
        {
            **_columns(Contract, contracts),
            "regions": np.array([contract.regions for contract in contracts], np.bool_),
            "segments": _pack_segments([contract.segments for contract in contracts]),
        },
        {
            **_columns(Accounts, accounts),
            "baseline": _columns(Account, [item.baseline for item in accounts]),
            "booked": _pack_booked([item.booked for item in accounts]),
        },
    )
    return _bytes(document)


def pack_begun(begun: Begun) -> bytes:
    """Write what a tick rests on."""
    return _bytes((FORM, begun))


def unpack_begun(blob: bytes) -> Begun:
    """Read what ``pack_begun`` wrote; raises as ``unpack``."""
    (begun,) = _read(blob)
    assert isinstance(begun, Begun)
    return begun


def unpack(blob: bytes) -> Saved[Any]:
    """Read what ``pack`` wrote.

    Raises:
        StorageError: The bytes are of another release, or no checkpoint of ours.
    """
    rest, contracts, accounts = _read(blob)
    made: list[Contract] = _objects(
        Contract,
        contracts,
        regions=list(contracts["regions"]),
        segments=_segments(contracts["segments"]),
    )
    held: list[Accounts] = _objects(
        Accounts,
        accounts,
        baseline=_objects(Account, accounts["baseline"]),
        booked=_booked(accounts["booked"]),
    )
    saved: Saved[Any] = rest
    state = replace(
        saved.state,
        ledger=Ledger(made, {contract.key: contract for contract in made}),
        accounts={contract.key: item for contract, item in zip(made, held, strict=True)},
    )
    return replace(saved, state=state)


def _bytes(document: object) -> bytes:
    return zlib.compress(pickle.dumps(document, pickle.HIGHEST_PROTOCOL), 1)


def _read(blob: bytes) -> Sequence[Any]:
    try:
        form: object
        parts: list[Any]
        form, *parts = _Unpickler(io.BytesIO(zlib.decompress(blob))).load()
    except _NO_CHECKPOINT as exc:
        raise StorageError(
            f"the orchestrator's checkpoint cannot be read: {exc}; it is of another release. Let "
            "the release that wrote it finish, or move the spool's folder away to begin anew"
        ) from exc
    if form != FORM:
        raise StorageError(
            f"the orchestrator's checkpoint has form {form}, this program reads {FORM}; let the "
            "release that wrote it finish, or move the spool's folder away to begin anew"
        )
    return parts


class _Unpickler(pickle.Unpickler):
    """Makes objects of our own types only: the file is ours, and yet."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.".startswith(_PACKAGES):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a checkpoint")


# -- columns -----------------------------------------------------------------------------------


def _columns(kind: type, items: Sequence[object]) -> Columns:
    names = [item.name for item in fields(kind) if item.name not in _SPECIAL]
    return {name: list(map(attrgetter(name), items)) for name in names}


def _objects(kind: type, columns: Columns, **special: Sequence[object]) -> list[Any]:
    names = [item.name for item in fields(kind)]
    parts = [special.get(name, columns.get(name)) for name in names]
    return [kind(*values) for values in zip(*parts, strict=True)]


def _pack_segments(groups: Sequence[Sequence[Segment]]) -> Columns:
    return {
        "count": [len(group) for group in groups],
        **_columns(Segment, list(chain.from_iterable(groups))),
    }


def _segments(columns: Columns) -> list[tuple[Segment, ...]]:
    return _grouped(_objects(Segment, columns), columns["count"])


def _pack_booked(groups: Sequence[Sequence[Booked]]) -> Columns:
    flat = list(chain.from_iterable(groups))
    return {
        "count": [len(group) for group in groups],
        "segment": _columns(Segment, [item.segment for item in flat]),
        "account": _columns(Account, [item.account for item in flat]),
        "congestion_gbp": [item.congestion_gbp for item in flat],
    }


def _booked(columns: Columns) -> list[tuple[Booked, ...]]:
    parts = zip(
        _objects(Segment, columns["segment"]),
        _objects(Account, columns["account"]),
        columns["congestion_gbp"],
        strict=True,
    )
    return _grouped([Booked(*part) for part in parts], columns["count"])


T = TypeVar("T")


def _grouped(flat: Sequence[T], counts: Iterable[int]) -> list[tuple[T, ...]]:
    groups: list[tuple[T, ...]] = []
    first = 0
    for count in counts:
        groups.append(tuple(flat[first : first + count]))
        first += count
    return groups
