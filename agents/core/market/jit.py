"""One typed door to Numba: compiled once, cached, without anything that may change a digest.

Kernels are single-threaded and release the interpreter's lock, so that several shards of one
process run side by side. ``fastmath`` and parallel sums stay off: they change results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on its first call and keep the machine code on disk.

    The cache lies beside the source, or in the user's cache folder if that is read-only. Where
    neither can be written the function is compiled in each process, which is slower and no
    fault.
    """
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled  # type: ignore[no-any-return]
