"""What SIGTERM does while Ray starts and ends; Ray has its own mind about it."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator

_DEAF_EVERY_S = 0.005


@contextlib.contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep what this program does at SIGTERM.

    Ray's start would end all actors at it without a word, and its end leaves the system's own way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)


@contextlib.contextmanager
def deaf_to_sigterm() -> Iterator[None]:
    """Outlive a SIGTERM while Ray ends.

    Early in its end Ray puts back the system's own way, which is to die at once, and takes a
    second for the rest. Python cannot set a handler from another thread, C can.
    """
    over = threading.Event()
    ignore = ctypes.cast(int(signal.SIG_IGN), ctypes.c_void_p)
    set_signal = ctypes.CDLL(None).signal
    set_signal.restype = ctypes.c_void_p

    def keep() -> None:
        while not over.wait(_DEAF_EVERY_S):
            set_signal(int(signal.SIGTERM), ignore)

    keeper = threading.Thread(target=keep, name="deaf-to-sigterm", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
