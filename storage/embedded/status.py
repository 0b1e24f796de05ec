"""Whether a Supabase is up, and how to reach it, for a person or a script."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import httpx

from schema.settings import Settings
from storage.embedded.api import probe
from storage.embedded.endpoint import Mode
from storage.embedded.layout import Layout, read_holder, read_pids
from storage.embedded.state import InstanceState
from storage.home import resolve_home

State = Literal["up", "starting", "down"]

_HOSTED_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of the Supabase in use; None where it does not apply."""

    state: State
    mode: Mode
    url: str | None = None
    publishable_key: str | None = None
    secret_key: str | None = None
    database_url: str | None = None
    home: str | None = None
    data_folder: str | None = None
    programs: str | None = None
    postgres_port: int | None = None
    api_port: int | None = None
    supervisor_pid: int | None = None
    postgres_pid: int | None = None
    api_pid: int | None = None
    run_by: str | None = None
    problem: str | None = None

    def __repr__(self) -> str:
        """Give the parts that are no secret."""
        return f"Status(state={self.state!r}, mode={self.mode!r}, url={self.url!r})"

    def describe(self, *, show_keys: bool) -> dict[str, str | int | None]:
        """Give it as names and values; keys and passwords masked unless asked for."""
        content: dict[str, str | int | None] = {
            name: getattr(self, name) for name in self.__dataclass_fields__
        }
        if not show_keys:
            content["publishable_key"] = mask_key(self.publishable_key)
            content["secret_key"] = mask_key(self.secret_key)
            content["database_url"] = mask_password(self.database_url)
        return content


def read_status(settings: Settings) -> Status:
    """Ask the Supabase that these settings name; starts nothing and changes nothing."""
    if settings.supabase_url is not None and settings.supabase_key is not None:
        return _hosted(settings.supabase_url, settings.supabase_key.get_secret_value(), settings)
    layout = Layout.of(settings.home or resolve_home())
    state = InstanceState.load(layout.state)
    holder = read_holder(layout)
    if state is None:
        return Status("down" if holder is None else "starting", "embedded", home=str(layout.home))
    answering = probe(state.api_port) if holder is not None else None
    serving = answering is not None and answering[0] == state.instance
    pids = {} if holder is None else read_pids(layout)
    endpoint = state.endpoint(layout.endpoint)
    return Status(
        "up" if serving else "down" if holder is None else "starting",
        "embedded",
        url=endpoint.url,
        publishable_key=endpoint.publishable_key,
        secret_key=endpoint.secret_key,
        database_url=endpoint.database_url,
        home=str(layout.home),
        data_folder=str(layout.data),
        programs=str(layout.packages),
        postgres_port=state.postgres_port,
        api_port=state.api_port,
        supervisor_pid=None if holder is None else holder.pid,
        postgres_pid=pids.get("postgres_pid"),
        api_pid=pids.get("api_pid"),
        run_by=None if holder is None else str(holder),
    )


def mask_key(key: str | None) -> str | None:
    """Keep the part of a key that says its kind: ``sb_secret_***``."""
    if key is None:
        return None
    kind = re.match(r"sb_(publishable|secret)_", key)
    return f"{kind[0]}***" if kind else "***"


def mask_password(url: str | None) -> str | None:
    """Put ``***`` for the password of a URL."""
    return None if url is None else re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _hosted(url: str, key: str, settings: Settings) -> Status:
    url = url.rstrip("/")
    problem: str | None = None
    try:
        answer = httpx.get(f"{url}/rest/v1/", headers={"apikey": key}, timeout=_HOSTED_TIMEOUT_S)
    except httpx.HTTPError as exc:
        problem = f"{url} does not answer ({type(exc).__name__}); check SUPABASE_URL"
        serving = False
    else:
        serving = not answer.is_server_error
        if not serving:
            problem = f"{url} answered {answer.status_code}; try again later"
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            problem = f"the key is refused ({answer.status_code}); check SUPABASE_KEY"
    database = settings.supabase_db_url
    return Status(
        "up" if serving else "down",
        "hosted",
        url=url,
        secret_key=key,
        database_url=None if database is None else database.get_secret_value(),
        problem=problem,
    )
