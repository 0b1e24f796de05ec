"""The command line: mounts each package's commands, turns errors into exit codes, no rules.

stdout carries the answer, stderr logs and progress. Exit 0 done, 1 the work failed, 2 bad input
or settings, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from agents.bench.cli import app as bench_app
from agents.cli_inspect import app as inspect_app
from agents.cli_plan import plan
from fetchers.cli_parse import parse
from scenarios.bench.cli_bench_replay import replay as bench_replay
from scenarios.cli import app as scenarios_app
from scenarios.cli_replay import replay
from scenarios.live.cli_start import start
from scenarios.live.cli_submit import cancel, submit
from scenarios.ops.cli_backfill import backfill
from scenarios.ops.cli_check import check
from scenarios.ops.cli_record import record
from schema.errors import GridpactError
from storage.bench.cli_ingest import ingest as bench_ingest
from storage.cli_config import app as config_app
from storage.cli_db import app as db_app
from storage.cli_storage import app as storage_app
from storage.cli_supabase import app as supabase_app

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="gridpact",
    help="Agents that negotiate when and where deferrable compute runs on the British grid.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(replay)
app.command()(check)
app.command()(backfill)
app.command()(record)
app.command()(start)
app.command()(submit)
app.command()(cancel)
app.command()(plan)
app.command()(parse)
app.add_typer(inspect_app, name="inspect")
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(db_app, name="db")
app.add_typer(storage_app, name="storage")
app.add_typer(supabase_app, name="supabase")
app.add_typer(config_app, name="config")
bench_app.command("ingest")(bench_ingest)
bench_app.command("replay")(bench_replay)
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run a command and leave with its exit code."""
    # A stop from a service manager is the same wish as Ctrl-C: leave by the stop protocol.
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, _interrupt)
    code = run(sys.argv[1:])
    if code == EXIT_INTERRUPTED:
        # All is done; one more signal while Python takes itself apart would only change the code.
        for wish in (signal.SIGINT, signal.SIGTERM):
            signal.signal(wish, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line and give its exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code: Any = app(args=arguments, standalone_mode=False)
    except typer.Exit as exc:
        return exc.exit_code
    except typer.TyperException as exc:
        _show(exc)
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted")
        return EXIT_INTERRUPTED
    except GridpactError as exc:
        console.print(f"[bold red]error:[/] {escape(str(exc))}")
        return exc.exit_code
    except BrokenPipeError:
        # The reader has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    if code == EXIT_INTERRUPTED:
        # Typer catches a KeyboardInterrupt itself.
        console.print("interrupted")
    return code if isinstance(code, int) else 0


def _show(exc: typer.TyperException) -> None:
    show = getattr(exc, "show", None)
    if show is not None:
        show(file=sys.stderr)
    else:
        sys.stderr.write(f"Error: {exc.format_message()}\n")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # Stopping takes seconds and has an end; a second signal must not leave half of it undone.
    for wish in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wish, _already_stopping)
    raise KeyboardInterrupt


def _already_stopping(_signal: int, _frame: FrameType | None) -> None:
    # No buffered writer: the signal may have come in the midst of one.
    os.write(2, b"stopping already; what is not sent yet is safe in the spool\n")


if __name__ == "__main__":
    main()
