"""The cluster and its actors: names, placement, restarts, health, and the stop protocol.

A plain class in the driver. Nothing else in the project sets a name, a resource or a restart
policy, and nothing else starts or ends Ray. ``ray stop`` is never used: it ends every Ray
process of the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agents.listeners import family, is_alive, require_answer, require_loopback
from agents.placement import Place, Placement, alive
from agents.ray_env import NAMESPACE
from schema.errors import AgentUnavailable, ConfigurationError
from schema.rows.system import AgentKind

START_TIMEOUT_S = 60.0
STOP_BUDGET_S = 6.0
END_WITHIN_S = 3.0
_DEAF_EVERY_S = 0.005


@dataclass(frozen=True)
class ActorSpec:
    """One actor to start.

    ``shell`` is a plain class with ``ping`` and ``stop``; ``args`` hold names and paths, never
    handles (a restart runs the constructor again) and never secrets (they reach Ray's logs).
    """

    name: str
    kind: AgentKind
    shell: type
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What an actor answered when asked whether it lives."""

    name: str
    kind: AgentKind
    node: str
    pid: int


class Cluster:
    """A local Ray cluster of our own, or one that runs already, with our actors on it."""

    def __init__(
        self,
        *,
        address: str | None,
        temp_parent: Path,
        namespace: str = NAMESPACE,
        dashboard: bool = False,
    ) -> None:
        self._address = address
        self._temp = temp_parent / "ray"
        self.namespace = namespace
        self._dashboard = dashboard
        self._actors: dict[str, tuple[ActorSpec, ActorHandle[Any]]] = {}

    def start(self) -> None:
        """Start or join the cluster and check that only loopback listens.

        Raises:
            ConfigurationError: A listener beyond loopback, or a cluster that refuses us.
        """
        common: dict[str, Any] = {
            "namespace": self.namespace,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        }
        if self._address is not None:
            require_answer(self._address)
            try:
                with _own_sigterm():
                    ray.init(address=self._address, **common)
            except (ConnectionError, RuntimeError, ray.exceptions.RayError) as exc:
                raise ConfigurationError(
                    f"cannot join the Ray cluster at {self._address}: {exc}. It must be up, have a "
                    "node on this machine, and the token of GRIDPACT_HOME/ray/token must be its "
                    "own; give the address that ray start --head printed",
                    field="address",
                    value=self._address,
                ) from exc
            return
        for attempt in (1, 2):
            try:
                with _own_sigterm():
                    ray.init(
                        address="local",
                        num_cpus=os.cpu_count(),
                        include_dashboard=self._dashboard,
                        _temp_dir=str(self._temp),
                        **common,
                    )
                break
            except (RuntimeError, TimeoutError):
                # "node timed out during startup" was seen once in many starts.
                ray.shutdown()
                if attempt == 2:  # noqa: PLR2004
                    raise
        require_loopback(os.getpid())

    def launch(self, specs: Sequence[ActorSpec]) -> list[Heartbeat]:
        """Start actors at the same time and wait until each answers.

        Raises:
            AgentUnavailable: Names the actors that did not answer in time.
        """
        home = ray.get_runtime_context().get_node_id()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        placement = Placement(home, alive(nodes))
        for spec in specs:
            self._actors[spec.name] = (spec, self._create(spec, placement.place(spec.kind)))
        return self.heartbeats([spec.name for spec in specs], timeout_s=START_TIMEOUT_S)

    def _create(self, spec: ActorSpec, place: Place) -> ActorHandle[Any]:
        options: dict[str, Any] = {
            "name": spec.name,
            "namespace": self.namespace,
            # The default would admit as many actors as cores and let the next wait unseen.
            "num_cpus": place.cpus,
            # A restart runs the constructor; the caller repeats what it cannot be sure of.
            "max_restarts": -1,
            "max_task_retries": 0,
            "concurrency_groups": {"health": 1},
            "scheduling_strategy": NodeAffinitySchedulingStrategy(
                place.node_id, soft=place.may_move
            ),
        }
        actor: Any = ray.remote(**options)(spec.shell)
        try:
            handle: ActorHandle[Any] = actor.remote(**spec.kwargs)
        except (ValueError, ray.exceptions.ActorAlreadyExistsError) as exc:
            if "already" not in str(exc):
                raise
            raise ConfigurationError(
                f"the cluster has an actor {spec.name!r} in the namespace {self.namespace!r} "
                "already: another run uses it, or one that ended just now; wait for its end, or "
                "take another cluster",
                value=spec.name,
            ) from exc
        return handle

    def heartbeats(
        self, names: Sequence[str] | None = None, *, timeout_s: float = 5.0
    ) -> list[Heartbeat]:
        """Ask actors whether they live.

        Raises:
            AgentUnavailable: Names those that did not answer within the time.
        """
        chosen = list(self._actors) if names is None else list(names)
        calls: dict[str, Any] = {name: self._actors[name][1].ping.remote() for name in chosen}
        ready, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=timeout_s)
        answered = set(ready)
        beats: list[Heartbeat] = []
        silent: list[str] = []
        for name, call in calls.items():
            if call not in answered:
                silent.append(name)
                continue
            try:
                node, pid = ray.get(call)
            except ray.exceptions.RayActorError as exc:
                silent.append(f"{name} ({type(exc).__name__})")
                continue
            beats.append(Heartbeat(name, self._actors[name][0].kind, node, pid))
        if silent:
            raise AgentUnavailable(
                f"no answer within {timeout_s:g} s from: {', '.join(silent)}; "
                f"their logs are in {self._logs()}",
                actors=silent,
            )
        return beats

    def _logs(self) -> str:
        if self._address is None:
            return f"{self._temp}/session_latest/logs"
        return "session_latest/logs of the temporary folders of the cluster's nodes"

    def handle(self, name: str) -> ActorHandle[Any]:
        """Give an actor that this cluster started."""
        return self._actors[name][1]

    def retire(self, names: Sequence[str]) -> None:
        """End some actors for good, without a word to them; for those that hold nothing."""
        for name in names:
            _, handle = self._actors.pop(name)
            ray.kill(handle)

    def stop(self, *, budget_s: float = STOP_BUDGET_S) -> list[str]:
        """Stop actors, storage last, then Ray; give the names that did not answer.

        Rows not yet in Supabase stay in the spool.
        """
        deadline = time.monotonic() + budget_s
        last = {AgentKind.STORAGE}
        unanswered: list[str] = []
        for kinds_last in (False, True):
            group: dict[str, Any] = {
                name: handle.stop.remote()
                for name, (spec, handle) in self._actors.items()
                if (spec.kind in last) is kinds_last
            }
            if not group:
                continue
            left = max(0.5, deadline - time.monotonic())
            share = left if kinds_last else left / 2
            ready, late = ray.wait(list(group.values()), num_returns=len(group), timeout=share)
            unanswered += [name for name, call in group.items() if call in set(late)]
            for call in ready:
                try:
                    ray.get(call)
                except ray.exceptions.RayError as exc:
                    unanswered.append(f"{type(exc).__name__}")
        self._actors.clear()
        self._shut_down()
        return unanswered

    def _shut_down(self) -> None:
        """End Ray, and see that its processes have ended before this one does."""
        ours = family(os.getpid(), str(self._temp)) if self._address is None else set()
        with _own_sigterm(), _deaf_to_sigterm():
            ray.shutdown()
        deadline = time.monotonic() + END_WITHIN_S
        while (left := {pid for pid in ours if is_alive(pid)}) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            # Its rows are on disk or were never acknowledged; nothing is lost.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this program does at SIGTERM.

    Ray's start would end all actors at it without a word, and its end leaves the system's own way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)


@contextlib.contextmanager
def _deaf_to_sigterm() -> Iterator[None]:
    """Outlive a SIGTERM while Ray ends.

    Early in its end Ray puts back the system's own way, which is to die at once, and takes a
    second for the rest. Python cannot set a handler from another thread, C can.
    """
    over = threading.Event()
    ignore = ctypes.cast(int(signal.SIG_IGN), ctypes.c_void_p)
    set_signal = ctypes.CDLL(None).signal
    set_signal.restype = ctypes.c_void_p

    def keep() -> None:
        while not over.wait(_DEAF_EVERY_S):
            set_signal(int(signal.SIGTERM), ignore)

    keeper = threading.Thread(target=keep, name="deaf-to-sigterm", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def where_am_i() -> tuple[str, int]:
    """Give the node and process an actor runs in; every shell's answer to ``ping``."""
    return ray.get_runtime_context().get_node_id(), os.getpid()
