"""``config show``: the settings in force and where each came from, secrets masked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import AliasChoices, SecretStr

from schema.settings import Settings
from storage.home import resolve_home
from storage.present import Form, form, write_json, write_rows
from storage.settings_loader import load_settings

app = typer.Typer(no_args_is_help=True, help="Settings in force.")


@app.callback()
def _group() -> None:
    """Settings in force."""


@app.command()
def show(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False
) -> None:
    """Print every setting, its value (secrets masked) and where it came from."""
    in_env = {name.upper() for name in os.environ}
    settings = load_settings()
    in_file = _names_in_env_file()
    rows = []
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        name = f"GRIDPACT_{field.upper()}"
        if isinstance(alias, AliasChoices):
            name = str(alias.choices[0])
        value = getattr(settings, field)
        came = "default"
        if name in in_file:
            came = ".env"
        if name in in_env:
            came = "environment"
        rows.append({"setting": name, "value": _shown(value), "from": came})
    rows.append(
        {
            "setting": "(state folder)",
            "value": str(settings.home or resolve_home()),
            "from": "in use",
        }
    )
    if form(as_json=as_json) is Form.JSON:
        write_json(rows)
    else:
        write_rows(rows, Form.TABLE, title="Settings in force")


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        return "********"
    return str(value) if isinstance(value, Path) else value


def _names_in_env_file() -> set[str]:
    path = Path(".env")
    if not path.is_file():
        return set()
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.partition("=")[0].strip() for line in lines if "=" in line}
