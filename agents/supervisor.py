"""The cluster and its actors: names, placement, restarts, health, and the stop protocol.

A plain class in the driver. Nothing else in the project sets a name, a resource or a restart
policy, and nothing else starts or ends Ray. ``ray stop`` is never used: it ends every Ray
process of the machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agents.listeners import (
    command_line,
    family,
    is_alive,
    require_answer,
    require_loopback,
    writers,
)
from agents.placement import Place, Placement, alive
from agents.ray_env import NAMESPACE
from agents.ray_signals import deaf_to_sigterm, own_sigterm
from agents.ray_watch import JOINED_PATIENCE_S, OWN_PATIENCE_S, Part, RayWatch, interrupt, leave
from schema.errors import AgentUnavailable, ClusterLost, ConfigurationError
from schema.rows.system import AgentKind

START_TIMEOUT_S = 60.0
STOP_BUDGET_S = 6.0
END_WITHIN_S = 3.0


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
        self._session: str | None = None
        self._watch: RayWatch | None = None

    @property
    def lost(self) -> str | None:
        """The part of Ray that has died under this cluster, if one has."""
        return None if self._watch is None else self._watch.lost

    def start(self) -> None:
        """Start or join the cluster and check that only loopback listens.

        Should Ray's raylet or GCS die later, this program is interrupted as by Ctrl-C, and
        ``stop`` raises.

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
                with own_sigterm():
                    ray.init(address=self._address, **common)
            except (ConnectionError, RuntimeError, ray.exceptions.RayError) as exc:
                raise ConfigurationError(
                    f"cannot join the Ray cluster at {self._address}: {exc}. It must be up, have a "
                    "node on this machine, and the token of GRIDPACT_HOME/ray/token must be its "
                    "own; give the address that ray start --head printed",
                    field="address",
                    value=self._address,
                ) from exc
        else:
            self._start_own(common)
        self._watch_ray()

    def _start_own(self, common: Mapping[str, Any]) -> None:
        for attempt in (1, 2):
            try:
                with own_sigterm():
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
        self._session = _session_of(family(os.getpid(), str(self._temp)))

    def _watch_ray(self) -> None:
        context = ray.get_runtime_context()
        gcs_host, _, gcs_port = context.gcs_address.rpartition(":")
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        (here,) = (node for node in nodes if node["NodeID"] == context.get_node_id())
        self._watch = RayWatch(
            [
                Part("GCS", gcs_host.strip("[]"), int(gcs_port)),
                Part("raylet", here["NodeManagerAddress"], int(here["NodeManagerPort"])),
            ],
            patience_s=OWN_PATIENCE_S if self._address is None else JOINED_PATIENCE_S,
            on_lost=lambda _: interrupt(),
            on_stuck=self._leave,
        )
        self._watch.start()

    def _watch_no_longer(self) -> None:
        if self._watch is None:
            return
        try:
            self._watch.end()
        except KeyboardInterrupt:
            # It may be the watch's own; then there is more to say than that.
            if self._watch.lost is None:
                raise

    def _leave(self) -> None:
        """End the processes of Ray and this one, which waits for Ray and hears no signal."""
        self._kill_all()
        leave(self._what_was_lost())

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

        Raises:
            ClusterLost: Ray had died before; its processes have been ended all the same.
        """
        self._watch_no_longer()
        if self.lost is not None:
            self._actors.clear()
            self._kill_all()
            self._shut_down()
            raise ClusterLost(self._what_was_lost(), part=self.lost)
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

    def _what_was_lost(self) -> str:
        return (
            f"Ray's {self.lost} has died, and every actor with it. Nothing that was accepted is "
            "lost: rows that are not in Supabase yet wait in the spool, and go with the next run. "
            f"Give the same command again; why it died may stand in {self._logs()}"
        )

    def _kill_all(self) -> None:
        """Kill what is left of our own cluster.

        Its rows are on disk or were never acknowledged; and a cluster without its raylet or GCS
        does not end by itself.
        """
        if self._session is None:
            return
        # Workers have no parent any more if it was the raylet that died.
        for pid in family(os.getpid(), str(self._temp)) | writers(self._session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _shut_down(self) -> None:
        """End Ray, and see that its processes have ended before this one does."""
        ours = family(os.getpid(), str(self._temp)) if self._address is None else set()
        with own_sigterm(), deaf_to_sigterm():
            ray.shutdown()
        deadline = time.monotonic() + END_WITHIN_S
        while (left := {pid for pid in ours if is_alive(pid)}) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            # Its rows are on disk or were never acknowledged; nothing is lost.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _session_of(pids: Iterable[int]) -> str | None:
    """Give the folder of a cluster of our own, which its GCS is told on its command line."""
    for pid in pids:
        if found := re.search(r"--session-dir=([^\0]+)", command_line(pid)):
            return found[1]
    return None


def where_am_i() -> tuple[str, int]:
    """Give the node and process an actor runs in; every shell's answer to ``ping``."""
    return ray.get_runtime_context().get_node_id(), os.getpid()
