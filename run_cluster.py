"""The command line: mounts each package's commands, turns errors into exit codes, no rules.

stdout carries the answer, stderr logs and progress. Exit 0 done, 1 the work failed, 2 bad input
or settings, 130 interrupted.
"""

from __future__ import annotations

import difflib
import sys
from typing import Any

import click
import typer
from agents.cli_inspect import app as inspect_app
from agents.cli_plan import plan
from fetchers.cli_parse import parse
from rich.console import Console
from rich.markup import escape
from scenarios.cli import app as scenarios_app
from scenarios.cli_replay import replay
from storage.cli_db import app as db_app

from schema.errors import GridpactError
from storage.cli_config import app as config_app
from storage.cli_supabase import app as supabase_app

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class NearestName(typer.core.TyperGroup):
    """A group that answers a wrong command with the nearest right one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        names = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in names:
            near = difflib.get_close_matches(args[0], names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(names)
            raise click.UsageError(f"there is no command {args[0]!r}{hint} Known: {known}", ctx)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="gridpact",
    cls=NearestName,
    help="Agents that negotiate when and where deferrable compute runs on the British grid.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(replay)
app.command()(plan)
app.command()(parse)
app.add_typer(inspect_app, name="inspect", cls=NearestName)
app.add_typer(scenarios_app, name="scenarios", cls=NearestName)
app.add_typer(db_app, name="db", cls=NearestName)
app.add_typer(supabase_app, name="supabase", cls=NearestName)
app.add_typer(config_app, name="config", cls=NearestName)


def main() -> None:
    """Run a command and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line and give its exit code."""
    console = Console(stderr=True, highlight=False)
    try:
        code: Any = app(args=arguments, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        console.print(escape(exc.format_message()))
        return EXIT_USAGE
    except click.ClickException as exc:
        exc.show(file=sys.stderr)
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        console.print("interrupted")
        return EXIT_INTERRUPTED
    except GridpactError as exc:
        console.print(f"[bold red]error:[/] {escape(str(exc))}")
        return exc.exit_code
    except BrokenPipeError:
        return EXIT_FAILED
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
