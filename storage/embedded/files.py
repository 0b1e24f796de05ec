"""Small files that hold secrets: written beside, then renamed, readable by us alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import orjson

from schema.errors import ConfigurationError


def write_private_json(path: Path, content: dict[str, object]) -> None:
    """Replace a file as a whole; readers see the old text or the new one, never a part."""
    # mkstemp makes it 0600 before the first byte is in it.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, object] | None:
    """Read an object from a file; None when there is no such file.

    Raises:
        ConfigurationError: It cannot be read, or does not hold one JSON object.
    """
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}; set GRIDPACT_HOME to a folder of your own"
        raise ConfigurationError(msg, path=str(path)) from exc
    except orjson.JSONDecodeError as exc:
        msg = f"{path} is damaged ({exc}); delete it and start again"
        raise ConfigurationError(msg, path=str(path)) from exc
    if not isinstance(content, dict):
        msg = f"{path} is damaged (no JSON object); delete it and start again"
        raise ConfigurationError(msg, path=str(path))
    return content
