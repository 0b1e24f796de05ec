"""Studio: a second API process in admin mode, for as long as somebody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schema.errors import ConfigurationError
from storage.embedded.account import service_account
from storage.embedded.api import ApiServer
from storage.embedded.install import install
from storage.embedded.layout import Layout
from storage.embedded.postgres import PortTaken
from storage.embedded.processes import Progress, free_port, silent
from storage.embedded.state import InstanceState

_PORT_TRIES = 5


@contextmanager
def studio(home: Path, packages: Path | None = None, progress: Progress = silent) -> Iterator[str]:
    """Serve Studio over the Supabase that is up for this home; gives its address.

    Whoever reaches this port on this machine is the service role, without a key; so it is a
    process of its own that ends with the block, and the normal API never has this mode.

    Raises:
        ConfigurationError: Nothing was ever started for this home.
        StorageUnavailable: It does not start.
    """
    layout = Layout.of(home, packages)
    state = InstanceState.load(layout.state)
    if state is None:
        msg = f"no embedded Supabase in {home}; start one with `gridpact supabase up`"
        raise ConfigurationError(msg, path=str(home))
    account = service_account()
    installation = install(layout.packages, account, progress)
    api = ApiServer(installation, layout.folder / "studio.log", account, admin=True)
    try:
        for attempt in range(_PORT_TRIES):
            port = free_port()
            try:
                api.start(state, port)
                api.wait_ready(state, port, lambda: False)
            except PortTaken:
                if attempt + 1 == _PORT_TRIES:
                    raise
                continue
            break
        yield f"http://127.0.0.1:{port}"
    finally:
        api.stop()
