"""``check``: is everything there that a live run needs; a line each, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from scenarios.ops.checkup import Checkup
from scenarios.ops.findings import CheckResult, CheckStatus, worst
from storage.embedded.endpoint import SupabaseEndpoint
from storage.home import prepare_home, resolve_home
from storage.present import console, printable, write_json
from storage.settings_loader import load_settings
from storage.throwaway import ForgetfulStore

_STYLES = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red"}
_NAME_WIDTH = 24


def check(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False
) -> None:
    """Check sources, Supabase, spool and this machine, and send one iteration the whole way.

    Starts no run and leaves no row behind. Exit 0 when all is well, warnings allowed; 1 when
    something failed; 2 when the settings cannot be read.
    """
    settings = load_settings()
    screen = console()
    results = Checkup(
        settings=settings,
        home=prepare_home(settings.home or resolve_home()),
        folder=Path.cwd(),
        make_store=_supabase_store,
        tell=(lambda _result: None) if as_json else (lambda result: _show(screen, result)),
        progress=_say,
    ).run()
    failed = worst(results) is CheckStatus.FAIL
    if as_json:
        write_json({"checks": [result.to_json() for result in results], "ok": not failed})
    else:
        counts = {
            status: sum(result.status is status for result in results) for status in CheckStatus
        }
        screen.print(
            f"{counts[CheckStatus.OK]} right, {counts[CheckStatus.WARN]} to look at, "
            f"{counts[CheckStatus.FAIL]} failed"
        )
    if failed:
        raise typer.Exit(1)


def _supabase_store(endpoint: SupabaseEndpoint) -> ForgetfulStore:
    # Imported here: 109 MB that only this command of the module's needs.
    from storage.supabase_store import SupabaseStore

    return SupabaseStore(
        endpoint.url, endpoint.secret_key, socket_timeout_s=10.0, call_timeout_s=20.0
    )


def _show(screen: Console, result: CheckResult) -> None:
    line = Text()
    line.append(f"{result.status.value:<5}", style=_STYLES[result.status])
    line.append(f"{result.name:<{_NAME_WIDTH}}")
    line.append(f"{result.seconds:>6.2f} s  {printable(result.detail)}")
    screen.print(line)
    if result.hint and result.status is not CheckStatus.OK:
        screen.print(Text(f"     → {printable(result.hint)}", style="dim"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
