"""One typed door to Numba: compiled once, cached, without anything that may change a digest.

Kernels are single-threaded and release the interpreter's lock, so that several shards of one
process run side by side. ``fastmath`` and parallel sums stay off: they change results.

Numba renews a cached kernel when the kernel's own file changes, not when a kernel that it calls
does. So the cache lies in a folder named after the contents of all files that hold kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba
from numba.core import config

P = ParamSpec("P")
R = TypeVar("R")

_HERE = Path(__file__).parent
#: Files whose contents take part in compiled code.
_SOURCES = ("jit.py", "units.py", "order.py", "fleet.py", "kernels_*.py")


def cache_folder() -> Path:
    """Give the folder of compiled kernels: beside the source, or the user's if that is shut."""
    contents = sha256()
    for pattern in _SOURCES:
        for path in sorted(_HERE.glob(pattern)):
            contents.update(path.name.encode() + path.read_bytes())
    name = f"kernels-{contents.hexdigest()[:16]}"
    beside = _HERE / "__pycache__"
    if os.access(beside if beside.is_dir() else _HERE, os.W_OK):
        return beside / name
    return Path.home() / ".cache" / "gridpact" / name


_FOLDER = str(cache_folder())


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on its first call and keep the machine code on disk.

    It may not create or give back arrays: in return nobody counts references to those it is
    handed. Counting is locked, since threads share arrays.
    """
    return _compiled(function, counts=False)


def allocating(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that creates arrays; loops over workloads belong in kernels it calls."""
    return _compiled(function, counts=True)


def _compiled(function: Callable[P, R], *, counts: bool) -> Callable[P, R]:
    """Compile; where no folder can be written, again in each process: slower and no fault."""
    options = {"nogil": True, "error_model": "numpy", "_nrt": counts}
    before = config.CACHE_DIR
    config.CACHE_DIR = _FOLDER
    try:
        compiled: Callable[P, R] = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = numba.njit(**options)(function)
    finally:
        config.CACHE_DIR = before
    return compiled
