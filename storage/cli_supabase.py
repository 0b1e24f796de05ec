"""``gridpact supabase``: the embedded Supabase by itself."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import orjson
import typer

from schema.errors import InputError
from schema.settings import Settings
from storage.embedded.account import service_account
from storage.embedded.attach import attach_or_start
from storage.embedded.daemon import start_detached, stop_detached
from storage.embedded.install import install
from storage.embedded.layout import InstanceLock, Layout, make_folder
from storage.embedded.state import InstanceState
from storage.embedded.status import Status, read_status
from storage.embedded.studio import studio as open_studio
from storage.embedded.supervisor import this_process
from storage.home import prepare_home, resolve_home
from storage.settings_loader import load_settings

MIGRATE = "storage.migrations:migrate"
"""Imported by the detached process, so a name and not the function."""

app = typer.Typer(
    no_args_is_help=True,
    help="The Supabase that gridpact runs on this machine: PostgreSQL 17 and its REST API.",
)

_ShowKeys = Annotated[bool, typer.Option("--show-keys", help="Show keys and passwords in full.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def up(context: typer.Context, *, as_json: _Json = False) -> None:
    """Start it and leave it running until ``stop``; does nothing when it is up."""
    settings = _settings(context)
    if settings.hosted:
        _say(f"SUPABASE_URL is set: {settings.supabase_url} is used, nothing is started")
    else:
        start_detached(_home(settings), MIGRATE, progress=_say)
    _print_status(read_status(settings), as_json=as_json, show_keys=False)


@app.command("install")
def install_programs(context: typer.Context) -> None:
    """Install PostgreSQL and the API now; every command that needs them does it by itself."""
    home = _home(_settings(context))
    install(Layout.of(home).packages, service_account(), _say)


@app.command()
def status(context: typer.Context, *, show_keys: _ShowKeys = False, as_json: _Json = False) -> None:
    """Say whether it is up, where, and with which keys."""
    _print_status(read_status(_settings(context)), as_json=as_json, show_keys=show_keys)


@app.command()
def stop(context: typer.Context) -> None:
    """Stop what ``up`` left running, within 10 seconds."""
    home = _home(_settings(context))
    typer.echo("stopped" if stop_detached(home) else "it was not running")


@app.command("rotate-keys")
def rotate_keys(context: typer.Context) -> None:
    """Make new keys for the embedded Supabase, which must be stopped; the old ones end."""
    settings = _settings(context)
    if settings.hosted:
        msg = (
            "SUPABASE_URL is set: keys of a hosted project are made on its page "
            "(Project Settings, API Keys)"
        )
        raise InputError(msg)
    layout = Layout.of(_home(settings))
    state = InstanceState.load(layout.state)
    if state is None:
        typer.echo("there is none yet; it gets its keys when it is first started")
        return
    make_folder(layout)
    lock = InstanceLock(layout)
    lock.take(this_process(detached=False))
    try:
        state.with_new_keys().save(layout.state)
        # It says the old keys; the next start writes it anew.
        layout.endpoint.unlink(missing_ok=True)
    finally:
        lock.release()
    typer.echo("new keys; see `supabase status --show-keys` once it is up again")


@app.command()
def studio(context: typer.Context) -> None:
    """Open Studio on this machine until Ctrl-C. Whoever opens its page may change everything."""
    settings = _settings(context)
    if settings.hosted:
        typer.echo("a hosted project has its Studio at https://supabase.com/dashboard")
        return
    # Imported here: the module is needed in this process only for this command.
    from storage.migrations import migrate

    closed = threading.Event()
    with (
        attach_or_start(settings, migrate=migrate, progress=_say),
        open_studio(_home(settings), progress=_say) as url,
    ):
        # From here on Ctrl-C is the ordinary end, not a failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: closed.set())
        typer.echo(url)
        _say(f"the negotiations: {url}/editor/public.agent_negotiations; Ctrl-C ends Studio")
        closed.wait()


def _settings(context: typer.Context) -> Settings:
    return context.obj if isinstance(context.obj, Settings) else load_settings()


def _home(settings: Settings) -> Path:
    return prepare_home(settings.home or resolve_home())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_status(found: Status, *, as_json: bool, show_keys: bool) -> None:
    content = found.describe(show_keys=show_keys)
    if as_json:
        typer.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
        return
    width = max(map(len, content))
    for name, value in content.items():
        if value is not None:
            typer.echo(f"{name:<{width}}  {value}")
