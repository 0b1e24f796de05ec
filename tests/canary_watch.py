"""Looks for secrets where none may be: files, command lines, environments of workers, tables.

What is looked for is every secret in use: made for this run alone, and read from the private files
in which it has to lie. Those files are the only ones that may hold it, and only with mode 0600.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import sql

from storage.home import database_folder

#: Where a secret has to be: the ending of the path.
CREDENTIALS = re.compile(
    r"/supabase/(state|endpoint|hosted-\d+)\.json$|/ray/token$|/canary/beckn\.toml$"
)
#: Of an embedded Supabase; the publishable key is for the public.
_SECRET_FIELDS = ("postgres_password", "api_password", "jwt_secret", "secret_key")
_PRIVATE = 0o600
_SHORTEST = 12
_OVERLAP = 256
_SAMPLE_S = 0.25
_WALK_EVERY = 8
_DATA_EVERY = 80
#: Rewritten in place, so that what was read before says nothing of it now.
_REWRITTEN = (".db", ".db-wal", ".db-shm", ".sqlite", ".sqlite-wal", ".json")


@dataclass
class Watch:
    """What has been looked at under a folder, and what was found.

    Args:
        root: Everything that tests write lies in it.
    """

    root: Path
    secrets: dict[bytes, str] = field(default_factory=dict)
    """Where each was first seen."""
    hits: dict[str, str] = field(default_factory=dict)
    """Place, and the kind of secret it holds."""
    looked: Counter[str] = field(default_factory=Counter)
    _read: dict[Path, tuple[int, int, float]] = field(default_factory=dict)
    _pattern: re.Pattern[bytes] | None = None
    _seen: set[tuple[int, str]] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Look on in a thread until ``stop``."""
        self._thread = threading.Thread(target=self._run, name="canary-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look at everything once more and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.look_at_files()

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(_SAMPLE_S):
            turn += 1
            if turn % _WALK_EVERY == 0:
                self.look_at_files()
            if turn % _DATA_EVERY == 0:
                self.look_at_data()
            self.look_at_processes()

    def know(self, secret: str, where: str) -> None:
        """Look for a secret from now on, also in what was read before."""
        with self._lock:
            # What tests make up is a word, and stands in many a place.
            if len(secret) < _SHORTEST or secret.encode() in self.secrets:
                return
            self.secrets[secret.encode()] = where
            self._pattern = re.compile(b"|".join(map(re.escape, self.secrets)))
            self._read.clear()
            self._seen.clear()

    # -- files ----------------------------------------------------------------------------

    def look_at_files(self) -> None:
        """Read what is new in files, those with credentials first."""
        with self._lock:
            paths = list(_files(self.root))
            for home in [path.parents[1] for path in paths if str(path).endswith("/ray/token")]:
                paths += _files(ray_folder(home))
            for path in paths:
                self._learn(path)
            for path in paths:
                self._look_at(path)

    def _learn(self, path: Path) -> None:
        name = str(path)
        try:
            if name.endswith("/supabase/state.json"):
                content = json.loads(path.read_text())
                for key in _SECRET_FIELDS:
                    self.know(content[key], f"{key} of an embedded Supabase")
            elif name.endswith("/ray/token"):
                self.know(path.read_text().strip(), "Ray's token")
        except (OSError, ValueError, KeyError):
            return  # half written; the next look finds it whole

    def _look_at(self, path: Path) -> None:
        try:
            found = path.stat()
            node, offset, seen_at = self._read.get(path, (0, 0, -1.0))
            rewritten = path.name.endswith(_REWRITTEN)
            if found.st_mtime == seen_at and found.st_size == offset:
                return
            if rewritten or node != found.st_ino or found.st_size < offset:
                offset = 0
            with path.open("rb") as file:
                file.seek(max(0, offset - _OVERLAP))
                data = file.read()
        except OSError:
            return  # gone meanwhile
        self._read[path] = (found.st_ino, found.st_size, found.st_mtime)
        self.looked["files"] += offset == 0
        self.looked["bytes"] += len(data)
        kind = self._in(data)
        if kind is None:
            return
        if CREDENTIALS.search(str(path)) and stat.S_IMODE(found.st_mode) == _PRIVATE:
            self.looked["private files"] += offset == 0
            return
        self._hit(f"{path} (mode {stat.S_IMODE(found.st_mode):o})", kind)

    def look_at_data(self) -> None:
        """Read the files of the databases, tables and logs alike, as they lie on the disk."""
        with self._lock:
            homes = [path.parent.parent for path in _files(self.root) if _is_state(path)]
            patterns = b"\n".join(self.secrets)
        for home in homes:
            data = database_folder(home) / "postgres17"
            found = subprocess.run(
                ["grep", "-rlaF", "-f", "-", str(data)],
                input=patterns,
                capture_output=True,
                check=False,
            )
            self.looked["data folders"] += 1
            for name in found.stdout.decode().splitlines():
                self._hit(name, "one of the secrets")

    # -- processes ------------------------------------------------------------------------

    def look_at_processes(self) -> None:
        """Read all command lines, and the environments of Ray's workers."""
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                line = Path(entry.path, "cmdline").read_bytes()
                self._look_at_words(int(entry.name), "command line", line)
                if line.startswith(b"ray::") or b"default_worker.py" in line:
                    words = Path(entry.path, "environ").read_bytes()
                    self._look_at_words(int(entry.name), "environment of a worker", words)
            except OSError:
                continue  # it has ended

    def _look_at_words(self, pid: int, what: str, words: bytes) -> None:
        self.looked[f"looks at a {what}"] += 1
        with self._lock:
            kind = self._in(words)
        if kind is not None:
            program = words.split(b"\0")[0].decode(errors="replace")
            self._hit(f"{what} of {program} {pid}", kind)

    # -- tables ---------------------------------------------------------------------------

    def look_at_tables(self, url: str) -> None:
        """Read every row of every table of ``public`` as text."""
        with closing(psycopg.connect(url)) as connection:
            tables = connection.execute(
                "select tablename from pg_tables where schemaname = 'public'"
            ).fetchall()
            for (table,) in tables:
                query = sql.SQL("select t::text from public.{} t").format(sql.Identifier(table))
                for (text,) in connection.execute(query):
                    self.looked["rows"] += 1
                    with self._lock:
                        kind = self._in(text.encode())
                    if kind is not None:
                        self._hit(f"a row of {table}", kind)

    # -- telling --------------------------------------------------------------------------

    def _in(self, data: bytes) -> str | None:
        found = self._pattern.search(data) if self._pattern is not None else None
        return None if found is None else self.secrets[found.group()]

    def _hit(self, place: str, kind: str) -> None:
        self.hits.setdefault(place, kind)

    def told(self) -> list[str]:
        """Give what was looked for, where, and what was found."""
        kinds = Counter(self.secrets.values())
        lines = [f"looked for {number} x {kind}" for kind, number in sorted(kinds.items())]
        lines += [f"looked at {number:,} {what}" for what, number in sorted(self.looked.items())]
        lines += [f"FOUND {kind} in {place}" for place, kind in sorted(self.hits.items())]
        return [*lines, f"{len(self.hits)} places with a secret where none may be"]


def ray_folder(home: Path) -> Path:
    """Say where Ray keeps its logs for a home: not below it, as ``agents.ray_env`` explains."""
    short = sha256(str(home).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"gridpact-{os.getuid()}-{short}"


def _is_state(path: Path) -> bool:
    return str(path).endswith("/supabase/state.json")


def _files(root: Path) -> Iterator[Path]:
    """Give plain files below a folder; those of a database are looked at apart."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in {"postgres17", "packages"}]
        for name in files:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path
