"""Which sources a live run asks."""

from __future__ import annotations

import difflib
import logging

from fetchers import registry
from schema.errors import ConfigurationError, InputError
from schema.readings import Source

log = logging.getLogger(__name__)


def chosen_sources(text: str | None) -> tuple[str, ...]:
    """Read ``--sources``: names separated by commas; None is every source that can be asked.

    Raises:
        InputError: A name is no source's, or the source is only parsed; says what is known.
        ConfigurationError: A source asked for by name belongs to a package that is broken.
    """
    known = registry.sources()
    if text is None:
        return tuple(name for name in known if _is_sound(name))
    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    if not names:
        raise InputError("--sources is empty; name at least one", field="sources", value=text)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ";"
            msg = f"--sources: there is no source {name!r}{hint} Known: {', '.join(known)}"
            raise InputError(msg, field="sources", value=name)
        if not _is_asked(name):
            msg = f"--sources: {name!r} is only parsed, its package gives no plan of what to ask"
            raise InputError(msg, field="sources", value=name)
    return tuple(name for name in known if name in names)


def _is_asked(name: str) -> bool:
    # Beckn's plan needs the run, so that its definition has none.
    return name == Source.BECKN or registry.definition(name).plan is not None


def _is_sound(name: str) -> bool:
    """Say whether a source can be asked; a broken package spoils its own source alone."""
    try:
        return _is_asked(name)
    except ConfigurationError as exc:
        log.warning("%s; the others are asked all the same", exc)
        return False
