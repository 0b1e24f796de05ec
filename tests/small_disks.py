"""Real file systems of a few megabytes, mounted for the time of a test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import pytest

_BLOCK = 65_536


class Kind(StrEnum):
    """What is mounted."""

    TMPFS = "tmpfs"
    EXT4 = "ext4"
    """In a file, through a loop device."""


@contextmanager
def small_disk(kind: Kind, folder: Path, size: int, image: Path | None = None) -> Iterator[Path]:
    """Mount a file system of some bytes on a folder; skips where that is not allowed.

    Args:
        kind: Which.
        folder: Made if needed; belongs to whom it belonged.
        size: In bytes.
        image: File of an ext4.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat()
    if kind is Kind.TMPFS:
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
    else:
        assert image is not None, "an ext4 lies in a file"
        with image.open("wb") as file:
            file.truncate(size)
        _run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)])
        words = ["mount", "-o", "loop", str(image)]
    _run([*words, str(folder)])
    try:
        folder.chmod(0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"{words[0]} is not installed")
    if done.returncode:
        pytest.skip(f"{' '.join(words)} is not allowed here: {done.stderr.strip()}")


class Others:
    """Somebody else's file on the same disk, as large as it takes."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "others.bin"

    def fill(self, *, leave: int = 0) -> int:
        """Write until all but some bytes are taken; gives how many there are now."""
        with self._file.open("ab", buffering=0) as file:
            while (room := _room(self._file.parent) - leave) > 0:
                try:
                    file.write(b"\xa5" * min(room, _BLOCK))
                except OSError:
                    break  # full; what was free was meant for something else
            os.fsync(file)
            return file.tell()

    def leave(self) -> None:
        """Give everything back."""
        self._file.unlink(missing_ok=True)


def _room(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize
