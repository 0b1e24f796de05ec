"""Loads the settings once, and takes the secrets out of the environment.

Every Ray worker inherits the driver's environment, so a key that stays there would be in every
process and in every crash report. The storage actor gets it by a file only its user can read.
"""

from __future__ import annotations

import os
from functools import cache

from pydantic import ValidationError

from schema.errors import ConfigurationError
from schema.settings import Settings

_SECRETS = ("SUPABASE_KEY", "SUPABASE_DB_URL")


@cache
def load_settings() -> Settings:
    """Give the settings in force; later calls give the same object.

    Raises:
        ConfigurationError: Names the setting, its value and what is allowed.
    """
    try:
        settings = Settings()
    except ValidationError as exc:
        raise ConfigurationError(_explain(exc)) from None
    for name in _SECRETS:
        os.environ.pop(name, None)
    return settings


def _explain(exc: ValidationError) -> str:
    parts = []
    for error in exc.errors(include_url=False):
        name = ".".join(str(part) for part in error["loc"]) or "settings"
        shown = "" if error["type"] == "value_error" else f" (found {error['input']!r})"
        parts.append(f"{name}: {error['msg'].removeprefix('Value error, ')}{shown}")
    return "; ".join(parts) + ". Settings come from the environment and from .env"
